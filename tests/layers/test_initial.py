import jax
import numpy as np

from datafree_nas import spaces, teachers
from datafree_nas.layers import initial


def _variables(seed):
    model = teachers.create_teacher("cifar_resnet8", 10).model
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    return initial.variables(model, jax.random.key(seed), image)


def test_every_tensor_has_the_deviation_of_its_fan_in():
    firsts = []
    for path, value in jax.tree_util.tree_leaves_with_path(_variables(0)):
        if path[-1].key != "kernel":
            np.testing.assert_array_equal(value, path[-1].key in ("scale", "var"))
            continue
        gain = 2 if value.ndim == 4 else 1
        deviation = np.sqrt(gain / np.prod(value.shape[:-1]))
        np.testing.assert_allclose(np.std(value), deviation, rtol=0.1)
        assert abs(np.mean(value)) < 0.1 * deviation
        firsts.append(float(value.ravel()[0]) / deviation)
    assert len(set(firsts)) == len(firsts) > 5, "each has numbers of its own"


def test_a_key_decides_all():
    one, same, other = (_variables(seed)["params"]["conv1"]["kernel"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.any(one == other)


def test_proxyless_begins_by_fan_out_whatever_the_groups():
    space = spaces.create_space("proxyless")
    assert space.initial("block1/mb3_k5/depthwise/kernel", (5, 5, 1, 96)) == (
        0.0,
        np.sqrt(2 / (5 * 5 * 96)),
    )
    assert space.initial("head/bias", (1000,)) == (0.0, 0.0)
