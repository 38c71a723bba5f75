import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datafree_nas.runtime.repeat import repeat
from datafree_nas.synthesis import synthesizer
from datafree_nas.synthesis.canvas import Canvas, centre
from datafree_nas.synthesis.synthesizer import Frozen
from tests import tiny


@pytest.fixture
def config():
    return tiny.get_config().synthesis


def _window(pixels, offset, flip=False, pool=1, margin=2):
    canvas = Canvas(pixels.shape, margin)
    view = jnp.array(offset), jnp.array(flip), pool
    return canvas.apply({"params": {"pixels": pixels}}, *view)


def test_window_is_the_region_at_the_offset():
    pixels = jnp.arange(100.0).reshape(1, 10, 10, 1)
    np.testing.assert_array_equal(_window(pixels, (2, 1)), pixels[:, 2:10, 1:9])
    np.testing.assert_array_equal(
        _window(pixels, (2, 1), flip=True), pixels[:, 2:10, 1:9][:, :, ::-1]
    )
    np.testing.assert_array_equal(centre(pixels, 2), pixels[:, 1:9, 1:9])


def test_pooled_window_is_the_average():
    pixels = jnp.arange(100.0).reshape(1, 10, 10, 1)
    pooled = _window(pixels, (1, 0), pool=2)
    assert pooled.shape == (1, 4, 4, 1)
    np.testing.assert_allclose(pooled[0, 0, 0, 0], np.mean([20, 21, 30, 31]))


def test_only_the_window_gets_gradient():
    pixels = jnp.ones((1, 10, 10, 1))
    grads = jax.grad(lambda p: jnp.sum(_window(p, (0, 0))))(pixels)
    np.testing.assert_array_equal(grads[0, :8, :8, 0], 1)
    assert float(jnp.sum(grads)) == 64


def test_offsets_cover_their_range_and_the_coin_is_real(config):
    views = [
        synthesizer._view(jax.random.key(i), 1, config.copy_and_resolve_references())
        for i in range(80)
    ]
    assert {int(o) for view in views for o in view[0]} == {0, 1, 2}
    assert not any(bool(view[1]) for view in views), "the digits are not mirrored"
    config.flip = True
    coins = [bool(synthesizer._view(jax.random.key(i), 1, config)[1]) for i in range(80)]
    assert 20 < sum(coins) < 60


def test_rolled_images_keep_every_pixel():
    pixels = jnp.arange(64.0).reshape(1, 8, 8, 1)
    canvas = Canvas(pixels.shape, 0, roll=3)
    view = jnp.array((-2, 3)), jnp.array(False), 1
    rolled = canvas.apply({"params": {"pixels": pixels}}, *view)
    np.testing.assert_array_equal(rolled, np.roll(pixels, (-2, 3), (1, 2)))


@pytest.mark.parametrize(("pool", "most"), [(1, 3), (2, 1)])
def test_rolls_go_both_ways(config, pool, most):
    config.update(margin=0, roll=3)
    views = [synthesizer._view(jax.random.key(i), pool, config) for i in range(80)]
    assert {int(o) for view in views for o in view[0]} == set(range(-most, most + 1))


def test_learning_rate_warms_up_and_ends_at_zero(config):
    config.update(learning_rate=0.5, warmup=10)
    rate = synthesizer.learning_rate(config, 100)
    np.testing.assert_allclose([rate(0), rate(9), rate(10)], [0.05, 0.5, 0.5], rtol=1e-6)
    np.testing.assert_allclose(rate(55), 0.25, rtol=1e-6)
    np.testing.assert_allclose(rate(100), 0, atol=1e-7)


def _made(config, tiny_teacher, iterations, pool=1, **changes):
    teacher, variables = tiny_teacher
    config.update(changes)
    batch = 8
    labels = jnp.arange(batch) % teacher.num_classes
    state = synthesizer.create_synthesis_state(jax.random.key(1), labels, teacher, config)
    step = synthesizer.make_synthesis_step(
        teacher, config, batch=batch, pool=pool, iterations=max(iterations, 1)
    )
    return repeat(step)(state, Frozen(variables), iterations)


def test_step_lowers_the_loss_and_keeps_pixels_valid(config, tiny_teacher):
    _, first = _made(config, tiny_teacher, 1)
    state, last = _made(config, tiny_teacher, 30)
    assert last["loss"] < 0.8 * first["loss"]
    teacher, _ = tiny_teacher
    pixels = np.asarray(state.params["pixels"]) * teacher.std + teacher.mean
    assert pixels.min() >= -1e-6
    assert pixels.max() <= 1 + 1e-6
    assert set(last) == {"loss", "cross_entropy", "batch_norm", "tv_l2", "confidence"}


def test_loss_is_the_weighted_sum_of_its_terms(config, tiny_teacher):
    _, m = _made(config, tiny_teacher, 1, tv_l1=0.3, l2=0.2, batch_norm=0.7)
    total = m["cross_entropy"] + 0.7 * m["batch_norm"] + config.tv_l2 * m["tv_l2"]
    total += 0.3 * m["tv_l1"] + 0.2 * m["l2"]
    np.testing.assert_allclose(m["loss"], total, rtol=1e-5)


@pytest.mark.full
def test_groups_change_the_statistics(config, tiny_teacher):
    _, whole = _made(config, tiny_teacher, 1)
    _, grouped = _made(config, tiny_teacher, 1, batch_norm_group=2)
    assert grouped["batch_norm"] > 1.01 * whole["batch_norm"]


def test_bfloat16_is_for_layers_only(config, tiny_teacher):
    """Products of half the size; pixels, statistics, losses and gradients stay float32."""
    teacher, variables = tiny_teacher
    config.dtype = "bfloat16"
    labels = jnp.arange(8) % teacher.num_classes
    state = synthesizer.create_synthesis_state(jax.random.key(1), labels, teacher, config)
    step = synthesizer.make_synthesis_step(teacher, config, batch=8, pool=1, iterations=10)
    program = jax.make_jaxpr(step)(state, Frozen(variables))
    layers = [e for e in program.eqns if e.primitive.name == "conv_general_dilated"]
    assert len(layers) > 7
    assert {str(e.outvars[0].aval.dtype) for e in layers} == {"bfloat16"}
    after, metrics = jax.eval_shape(step, state, Frozen(variables))
    assert {str(m.dtype) for m in metrics.values()} == {"float32"}
    assert jax.tree.leaves(jax.tree.map(lambda a, b: a.dtype == b.dtype, after, state))


@pytest.mark.full
def test_images_of_bfloat16_are_as_good(config, tiny_teacher):
    """Each judged by the loss that float32 has of them."""

    def judged(dtype):
        state, _ = _made(config, tiny_teacher, 40, dtype=dtype)
        config.dtype = "float32"
        step = synthesizer.make_synthesis_step(
            tiny_teacher[0], config, batch=8, pool=1, iterations=1
        )
        return step(synthesizer.restart(state), Frozen(tiny_teacher[1]))[1]["loss"]

    np.testing.assert_allclose(judged("bfloat16"), judged("float32"), rtol=0.02)


@pytest.mark.full
def test_competition_pushes_away_from_the_student(config, tiny_teacher):
    teacher, variables = tiny_teacher
    config.competition = 1.0
    labels = jnp.arange(8) % teacher.num_classes
    state = synthesizer.create_synthesis_state(jax.random.key(1), labels, teacher, config)
    step = synthesizer.make_synthesis_step(
        teacher, config, batch=8, pool=1, iterations=10, student=teacher.model
    )
    _, metrics = repeat(step)(state, Frozen(variables, variables), 1)
    np.testing.assert_allclose(metrics["competition"], 1.0, atol=1e-5)


def test_restart_keeps_pixels_and_forgets_adam(config, tiny_teacher):
    state, _ = _made(config, tiny_teacher, 3)
    again = synthesizer.restart(state)
    np.testing.assert_array_equal(again.params["pixels"], state.params["pixels"])
    assert int(again.iteration) == 0
    assert int(again.optimizer.count) == 0
    assert not np.any(again.optimizer.mu["pixels"])
