import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datafree_nas.teachers import apply_with_taps


class Backwards(nn.Module):
    """Its layers are defined, and sorted, in another order than they are called."""

    def setup(self):
        self.a_last = nn.BatchNorm(use_running_average=True)
        self.b_first = nn.BatchNorm(use_running_average=True)

    def __call__(self, x, train=False):
        return jnp.mean(self.a_last(2 * self.b_first(x) + 1), axis=(1, 2))


@pytest.fixture(scope="module")
def images():
    return 3 + jax.random.normal(jax.random.key(0), (6, 4, 4, 2))


def test_taps_come_in_the_order_of_the_calls(images, random_variables):
    variables = random_variables(Backwards(), images)
    _, (first, last) = apply_with_taps(Backwards(), variables, images)
    np.testing.assert_allclose(first.mean[0], jnp.mean(images, axis=(0, 1, 2)), rtol=1e-5)
    assert first.running_mean is variables["batch_stats"]["b_first"]["mean"]
    assert last.running_var is variables["batch_stats"]["a_last"]["var"]


def test_tapping_changes_nothing(tiny_teacher):
    teacher, variables = tiny_teacher
    x = jax.random.normal(jax.random.key(0), (4, 8, 8, 1))
    logits, taps = jax.jit(lambda v, x: apply_with_taps(teacher.model, v, x))(variables, x)
    np.testing.assert_allclose(logits, jax.jit(teacher.model.apply)(variables, x), atol=1e-5)
    assert [tap.running_mean.size for tap in taps] == [16, 16, 16, 32, 32, 64, 64]
    assert all(tap.mean.shape == tap.var.shape == (1, tap.running_mean.size) for tap in taps)


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_groups_of_consecutive_images_have_statistics_of_their_own(
    groups, images, random_variables
):
    variables = random_variables(Backwards(), images)
    _, (tap, _) = apply_with_taps(Backwards(), variables, images, groups)
    for i, part in enumerate(jnp.split(images, groups)):
        np.testing.assert_allclose(tap.mean[i], jnp.mean(part, axis=(0, 1, 2)), rtol=1e-4)
        np.testing.assert_allclose(tap.var[i], jnp.var(part, axis=(0, 1, 2)), rtol=1e-4)
    assert tap.mean.shape == tap.var.shape == (groups, 2)


@pytest.mark.parametrize("groups", [1, 3])
def test_variance_of_inputs_far_from_zero(groups, images, random_variables):
    """What cancels in `E[x²] − E[x]²` and must not here."""
    variables = random_variables(Backwards(), images)
    _, (tap, _) = apply_with_taps(Backwards(), variables, images + 1000, groups)
    expected = [jnp.var(part, axis=(0, 1, 2)) for part in jnp.split(images, groups)]
    np.testing.assert_allclose(tap.var, jnp.stack(expected), rtol=1e-3)


def test_gradients_reach_the_images(images, random_variables):
    variables = random_variables(Backwards(), images)

    def statistics(x):
        (tap, _) = apply_with_taps(Backwards(), variables, x)[1]
        return jnp.sum(tap.mean), jnp.sum(tap.var)

    of_mean, of_var = (jax.grad(lambda x, i=i: statistics(x)[i])(images) for i in (0, 1))
    count = images.size / 2
    np.testing.assert_allclose(of_mean, jnp.full_like(images, 1 / count), rtol=1e-4)
    centred = images - jnp.mean(images, axis=(0, 1, 2))
    np.testing.assert_allclose(of_var, 2 * centred / count, rtol=1e-3, atol=1e-5)
