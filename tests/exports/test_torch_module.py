"""JAX programs as PyTorch modules: the same function, and no more ops than it needs."""

from collections import Counter

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from datafree_nas import teachers
from datafree_nas.exports import torch_module
from datafree_nas.runtime.errors import UserError
from datafree_nas.students.export import image_batch
from datafree_nas.teachers import registry
from tests.tiers import full


def _ops(module):
    calls = [node for node in module.graph.nodes if node.op.startswith("call")]
    return Counter(getattr(node.target, "__name__", node.target) for node in calls)


def _batch(*sizes, dtype=jnp.float32):
    return jax.ShapeDtypeStruct((*jax.export.symbolic_shape("b"), *sizes), dtype)


def _check(function, x, tolerance=1e-5):
    """Compares a function of a batch with its module, for two sizes of batch; its ops."""
    module = torch_module.module(function, _batch(*x.shape[1:], dtype=x.dtype))
    for part in (x, x[:1]):
        expected = np.asarray(jax.jit(function)(part))
        found = module(torch.from_numpy(part)).numpy()
        assert found.shape == expected.shape
        scale = max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)
    return _ops(module)


def test_a_student_of_every_space(any_student, images):
    module = torch_module.module(any_student.logits, image_batch(any_student))
    expected = np.asarray(any_student.logits(jnp.asarray(images)))
    found = module(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()))


ARCHS = ["cifar_resnet8", "mobilenetv2_035"]
MORE = ["efficientnet_lite0", "timm_efficientnet_lite0", "densenet121", "resnet18d", "vgg11_bn"]


@pytest.mark.parametrize("arch", [*ARCHS, *full(*MORE, "wrn16_1", "cifar_resnet8_b")])
def test_a_teacher(arch, random_variables):
    teacher = registry.create_teacher(arch, 7, image_size=(32, 32, 3))
    shape = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    labeller = teachers.labeller(teacher, random_variables(teacher.model, shape))

    def logits(images):
        return labeller.logits_fn(labeller.variables, labeller.preprocessing(images))

    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    ops = _check(logits, images)
    assert ops["batch_norm"] == 0
    assert ops["permute"] <= 3  # where images come in, and where features leave the layers


def test_batch_norm_becomes_a_part_of_the_layer_before_it(random_variables):
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            y = nn.BatchNorm(use_running_average=True)(nn.Conv(6, (3, 3), strides=2)(x))
            y = jnp.mean(nn.relu(y), axis=(1, 2))
            return nn.BatchNorm(use_running_average=True)(nn.Dense(4)(y))

    block = Block()
    variables = random_variables(block, jax.ShapeDtypeStruct((1, 9, 8, 3), jnp.float32))
    x = np.random.default_rng(0).normal(size=(2, 9, 8, 3)).astype(np.float32)
    ops = _check(lambda x: block.apply(variables, x), x)
    assert ops == {"permute": 1, "pad": 1, "conv2d": 1, "relu": 1, "mean": 1, "linear": 1}


def test_what_has_two_readers_is_not_changed_for_one_of_them(random_variables):
    conv = nn.Conv(3, (1, 1))
    variables = random_variables(conv, jax.ShapeDtypeStruct((1, 4, 4, 3), jnp.float32))

    def function(x):
        y = conv.apply(variables, x)
        return y * jnp.arange(1.0, 4.0) + y

    x = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32)
    assert _check(function, x)["conv2d"] == 1


FUNCTIONS = {
    "average pooling without padding": lambda x: nn.avg_pool(x, (2, 2), (2, 2)),
    "average pooling, padding counts": lambda x: nn.avg_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1))),
    "average pooling, padding does not count": lambda x: nn.avg_pool(
        x, (3, 3), (1, 1), "SAME", count_include_pad=False
    ),
    "average pooling with odd padding": lambda x: nn.avg_pool(
        x, (2, 2), (2, 2), ((0, 1), (1, 0)), count_include_pad=False
    ),
    "max pooling with odd padding": lambda x: nn.max_pool(x, (3, 3), (2, 2), "SAME"),
    "squeeze and excite": lambda x: x * nn.sigmoid(jnp.mean(x, (1, 2), keepdims=True)),
    "every second pixel": lambda x: x[:, ::2, 1::2],
    "channels in another order": lambda x: x[..., np.array([2, 0, 3, 1])],
    "cropped": lambda x: x[:, 1:, :-2],
    "padded": lambda x: jnp.pad(x, ((0, 0), (1, 2), (0, 0), (3, 0)), constant_values=2.0),
    "parts": lambda x: jnp.concatenate(jnp.split(x, 2, axis=-1)[::-1], axis=-1),
    "shuffled": lambda x: x.reshape(-1, 6, 5, 2, 2).swapaxes(3, 4).reshape(-1, 6, 5, 4),
    "hard swish": lambda x: x * jnp.clip(x + 3, 0, 6) / 6,
    "gelu": nn.gelu,
    "exact gelu": lambda x: nn.gelu(x, approximate=False),
    "elu": nn.elu,
    "softmax": lambda x: nn.softmax(x, axis=-1),
    "norm": lambda x: x / jnp.sqrt(jnp.sum(x**2, axis=-1, keepdims=True) + 1e-6),
    "attention": lambda x: jnp.einsum("bhwc,bhvc->bhwv", x, x),
    "constant minus": lambda x: 1.0 - 2.0 / (1.5 + x**2),
    "per pixel": lambda x: (x - np.arange(30.0, dtype=np.float32).reshape(6, 5, 1)) * 0.5,
    "mirrored": lambda x: x[:, :, ::-1],
    "of the largest": lambda x: jnp.max(x, axis=(1, 2)),
    "halves of both signs": lambda x: jnp.where(x > 0, x, 0.1 * x),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    x = np.random.default_rng(0).normal(size=(3, 6, 5, 4)).astype(np.float32)
    _check(FUNCTIONS[name], x)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("average pooling without padding", {"permute": 2, "avg_pool2d": 1}),
        ("average pooling, padding does not count", {"permute": 2, "avg_pool2d": 1}),
        ("every second pixel", {"getitem": 2}),
        ("cropped", {"getitem": 2}),
    ],
)
def test_few_ops(name, expected):
    x = np.random.default_rng(0).normal(size=(3, 6, 5, 4)).astype(np.float32)
    assert _check(FUNCTIONS[name], x) == expected


def test_all_missing_primitives_are_named():
    def function(x):
        return jnp.sort(x, axis=-1) + jnp.cumsum(x, axis=-1)

    with pytest.raises(UserError, match="primitives cumsum, sort cannot be exported yet"):
        torch_module.module(function, _batch(4))


def test_a_form_of_a_primitive_that_is_not_taken():
    def function(x):
        return jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 2, 2), (1, 1, 1), "VALID")

    with pytest.raises(UserError, match="reduce_window_sum cannot be exported with windows over"):
        torch_module.module(function, _batch(4, 4))
