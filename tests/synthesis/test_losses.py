import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from datafree_nas.synthesis import losses
from datafree_nas.teachers.taps import Tap


def test_soft_cross_entropy_is_the_hard_one_for_certain_targets():
    logits = jax.random.normal(jax.random.key(0), (6, 4))
    labels = jnp.array([0, 1, 2, 3, 0, 1])
    certain = jax.nn.softmax(1e4 * jax.nn.one_hot(labels, 4))
    hard = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))
    np.testing.assert_allclose(losses.cross_entropy(logits, certain), hard, rtol=1e-6)


def _tap(mean, var):
    running = jnp.zeros(len(mean)), jnp.ones(len(var))
    return Tap(jnp.array([mean]), jnp.array([var]), *running)


def test_batch_norm_matching_by_hand():
    taps = [_tap([3.0, 4.0], [1.0, 1.0]), _tap([0.0], [3.0])]
    # first layer: 10 x (5 + 0); second: 0 + 2
    np.testing.assert_allclose(losses.batch_norm_matching(taps, 10.0), 52.0, rtol=1e-6)


def test_batch_norm_matching_averages_over_groups():
    two = Tap(jnp.array([[3.0], [1.0]]), jnp.ones((2, 1)), jnp.zeros(1), jnp.ones(1))
    np.testing.assert_allclose(losses.batch_norm_matching([two], 1.0), 2.0, rtol=1e-6)


def test_gradient_is_finite_where_norms_are_zero():
    still = jnp.full((2, 4, 4, 3), 0.5)
    assert np.all(np.isfinite(jax.grad(losses.tv_l2)(still)))
    assert np.all(np.isfinite(jax.grad(losses.l2)(jnp.zeros((2, 4, 4, 3)))))

    def matching(x):
        return losses.batch_norm_matching([_tap([0.0], [1.0])._replace(mean=x)], 1.0)

    assert np.all(np.isfinite(jax.grad(matching)(jnp.zeros((1, 1)))))


@pytest.fixture
def delta():
    return jnp.zeros((1, 5, 5, 1)).at[0, 2, 2, 0].set(1.0)


def test_tv_of_one_bright_pixel(delta):
    # in each direction the pixel differs from two neighbours by one
    np.testing.assert_allclose(losses.tv_l2(delta), 4 * np.sqrt(2), rtol=1e-6)
    np.testing.assert_allclose(losses.tv_l1(delta), 2 * 2 / 20 + 2 * 2 / 16, rtol=1e-6)


def test_tv_l2_is_one_norm_over_the_batch(delta):
    both = jnp.concatenate([delta, delta])
    np.testing.assert_allclose(losses.tv_l2(both), 4 * np.sqrt(4), rtol=1e-6)


def test_l2_is_the_mean_norm_of_an_image():
    images = jnp.stack([jnp.full((2, 2, 1), 1.0), jnp.full((2, 2, 1), 3.0)])
    np.testing.assert_allclose(losses.l2(images), 4.0, rtol=1e-6)


def test_competition_is_one_for_agreement_and_falls_with_disagreement():
    one, other = jnp.array([[9.0, 0.0, 0.0]]), jnp.array([[0.0, 9.0, 0.0]])
    np.testing.assert_allclose(losses.competition(one, one, 1.0), 1.0, atol=1e-5)
    # P, Q and M clamped to [.01, .99]
    p, q, m = (np.clip(d, 0.01, 0.99) for d in _softmaxes(one, other))
    divergence = sum(0.5 * np.sum(m * (np.log(m) - np.log(d))) for d in (p, q))
    expected = 1 - np.clip(divergence, 0, 1)
    np.testing.assert_allclose(losses.competition(one, other, 1.0), expected, rtol=1e-5)


def _softmaxes(one, other):
    p, q = np.asarray(jax.nn.softmax(one)), np.asarray(jax.nn.softmax(other))
    return p, q, (p + q) / 2
