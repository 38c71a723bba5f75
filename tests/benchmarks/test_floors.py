"""What an iteration must at least compute and move, and how fast that goes here."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks import floors, synthesis


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rates_are_positive(dtype):
    rates = floors.rates(dtype)
    assert rates.flops > 1e6
    assert rates.bytes > 1e6


def test_work_of_a_product():
    one, two = jnp.zeros((40, 30)), jnp.zeros((30, 20))
    work = floors.work(jnp.matmul, one, two)
    assert work.flops == 2 * 40 * 30 * 20
    assert work.bytes == 4 * (40 * 30 + 30 * 20 + 40 * 20)


def test_work_of_a_gradient():
    """With respect to the input of a convolution: as much again; its padding is not counted."""

    def convolved(x, kernel):
        return jax.lax.conv(x, kernel, (1, 1), "VALID")

    def total(x, kernel):
        return jnp.sum(jnp.square(convolved(x, kernel)))

    shapes = jnp.zeros((8, 16, 32, 32)), jnp.zeros((16, 16, 3, 3))
    forward, both = floors.work(convolved, *shapes), floors.work(jax.grad(total), *shapes)
    assert forward.flops == 2 * 8 * 16 * 16 * 9 * 30 * 30
    assert both.flops == pytest.approx(2 * forward.flops, rel=0.02)


def test_the_lower_floor_counts():
    rates, work = floors.Rates(flops=100, bytes=100), floors.Work(flops=20, bytes=5)
    row = synthesis.within(2.0, 1, work, rates)
    assert row == {"flop_floor": 5, "byte_floor": 20, "of_floor": 0.4}
