import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import common
from datafree_nas.training import recipe


@pytest.mark.parametrize(
    ("schedule", "middle"),
    [
        ("cosine", 0.01 + 0.5 * 0.19),
        ("linear", 0.01 + 0.5 * 0.19),
        ("exponential", np.sqrt(0.01 * 0.2)),
    ],
)
def test_schedules_go_from_nothing_to_the_peak_to_the_end(schedule, middle):
    config = common.recipe(
        schedule=schedule, steps=110, warmup=10, learning_rate=0.2, final_learning_rate=0.01
    )
    rate = recipe.learning_rate(config)
    found = [float(rate(step)) for step in (0, 5, 10, 60, 110)]
    np.testing.assert_allclose(found, [0.0, 0.1, 0.2, middle, 0.01], atol=1e-6)
    quarter = float(rate(35))
    straight = 0.2 - 0.25 * 0.19
    assert (abs(quarter - straight) < 1e-6) == (schedule == "linear")


def test_what_took_no_part_does_not_move():
    config = common.recipe(steps=10, weight_decay=0.1, learning_rate=0.5)
    params = {"a": jnp.ones((2, 2)), "b": jnp.ones((2, 2))}
    transform = recipe.only_used(recipe.optimizer(config))
    state = transform.init(params)
    both = {"a": jnp.full((2, 2), 0.3), "b": jnp.full((2, 2), 0.3)}
    one = {"a": both["a"], "b": jnp.zeros((2, 2))}

    updates, state = transform.update(both, state, params)
    assert np.all(updates["b"] != 0)
    momentum = jax.tree.leaves(state)
    updates, after = transform.update(one, state, params)
    assert np.all(updates["a"] != 0)
    assert np.all(updates["b"] == 0), "neither decay nor momentum"
    changed = [bool(np.any(x != y)) for x, y in zip(momentum, jax.tree.leaves(after), strict=True)]
    assert sum(changed) == 2, "the momentum of a, and the count of steps"

    plain = recipe.optimizer(config)
    moved, _ = plain.update(one, state, params)
    np.testing.assert_allclose(moved["a"], updates["a"])
    assert np.all(moved["b"] != 0), "which is what it would do by itself"


def test_a_schedule_of_updates_that_stand_for_several_steps():
    config = common.recipe(steps=110, warmup=10, learning_rate=0.2)
    one, five = recipe.learning_rate(config), recipe.learning_rate(config, 5)
    for step in (0, 5, 10, 60, 110):
        np.testing.assert_allclose(one(step), five(step // 5), atol=1e-6)


def test_decay_of_kernels_or_of_all():
    params = {"kernel": jnp.ones((2, 2)), "scale": jnp.ones(2)}
    for decay_all in (False, True):
        config = common.recipe(steps=10, weight_decay=0.1, decay_all=decay_all)
        transform = recipe.optimizer(config)
        updates, _ = transform.update(
            jax.tree.map(jnp.zeros_like, params), transform.init(params), params
        )
        assert np.all(updates["kernel"] != 0)
        assert np.all((updates["scale"] != 0) == decay_all)
