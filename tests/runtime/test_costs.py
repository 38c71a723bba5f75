import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from datafree_nas.runtime.costs import collectives, macs

IMAGE = jax.ShapeDtypeStruct((1, 8, 8, 6), jnp.float32)


def _macs(layer, x):
    variables = jax.eval_shape(layer.init, jax.random.key(0), x)
    return macs(layer.apply, variables, x)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.Conv(5, (3, 3), padding=1), 8 * 8 * 5 * 9 * 6),
        (nn.Conv(5, (3, 3), strides=2, padding=1), 4 * 4 * 5 * 9 * 6),
        (nn.Conv(5, (1, 3), padding="VALID"), 8 * 6 * 5 * 3 * 6),
        (nn.Conv(6, (5, 5), padding=2, feature_group_count=6), 8 * 8 * 6 * 25),
        (nn.Conv(4, (3, 3), padding=1, feature_group_count=2), 8 * 8 * 4 * 9 * 3),
        (nn.BatchNorm(use_running_average=True), 0),
    ],
    ids=["plain", "stride", "oblong", "depthwise", "grouped", "norm"],
)
def test_convolutions(layer, expected):
    assert _macs(layer, IMAGE) == expected


def test_a_batch_costs_as_much_as_its_images():
    layer = nn.Conv(5, (3, 3), padding=1)
    batch = jax.ShapeDtypeStruct((3, *IMAGE.shape[1:]), jnp.float32)
    assert _macs(layer, batch) == 3 * _macs(layer, IMAGE)


def test_products_are_counted_inside_inner_programs_too():
    @jax.jit
    def inner(x, w):
        return jax.nn.relu(x) @ w

    x, w = jnp.zeros((2, 7)), jnp.zeros((7, 3))
    assert macs(lambda x, w: inner(x, w) + inner(x, w), x, w) == 2 * (2 * 7 * 3)
    assert _macs(nn.Dense(3), x) == 2 * 7 * 3


def test_collectives_are_read_from_the_compiled_text():
    found = collectives("""
HloModule jit_step, num_partitions=8
  %all-reduce.1 = (f32[1,16]{1,0}, f32[], /*index=2*/bf16[3,5]{1,0:T(8,128)}) all-reduce(%a, %b)
  ROOT %all-reduce = f32[10]{0} all-reduce(%c), metadata={op_name="jit(step)/psum"}
  %get = f32[10]{0} get-tuple-element(%all-reduce.1), index=0
  %start = (f32[2,3]{1,0}, f32[16,3]{1,0}) all-gather-start(%d), dimensions={0}
  %done = f32[16,3]{1,0} all-gather-done(%start)
  %permute = pred[7]{0} collective-permute(%e), source_target_pairs={{0,1}}
  %exchange = (u8[4]{0}, f8e4m3fn[4]{0}) all-to-all(%f, %g)
""")
    assert found == {
        "all-reduce": (2, 4 * (16 + 1) + 2 * 15 + 4 * 10),
        "all-gather": (1, 4 * 48),
        "collective-permute": (1, 7),
        "all-to-all": (1, 8),
    }


def test_one_device_has_nobody_to_talk_to():
    compiled = jax.jit(lambda x: jnp.sum(x**2)).lower(jnp.zeros(3)).compile()
    assert collectives(compiled.as_text()) == {}
