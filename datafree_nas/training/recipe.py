"""The optimizer that a recipe describes."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from datafree_nas.runtime.config import Config
from datafree_nas.runtime.errors import UserError

SCHEDULES = ("cosine", "linear", "exponential")


def check(recipe: Config, place: str) -> None:
    """Checks the fields of a schedule that have to fit together.

    Args:
        recipe: a training block of the config.
        place: path of the block, for messages.

    Raises:
        UserError: they do not fit; the message names field, value and remedy.
    """
    if recipe.warmup >= recipe.steps:
        raise UserError(
            f"warmup={recipe.warmup} of {place}: it has to end before the last of "
            f"steps={recipe.steps}"
        )
    if recipe.schedule == "exponential" and not recipe.final_learning_rate:
        raise UserError(
            f"final_learning_rate=0 of {place}: schedule='exponential' never gets there; set a "
            "small rate"
        )


def optimizer(recipe: Config, batches: int = 1) -> optax.GradientTransformation:
    """Builds SGD with momentum, weight decay, a schedule, and clipping by global norm.

    Args:
        recipe: a training block of the config, with `learning_rate`, `schedule`,
            `final_learning_rate`, `warmup` (steps), `steps`, `momentum`, `nesterov`,
            `weight_decay`, `decay_all` (if false, only kernels decay), `clip` (0: none).
        batches: number of the recipe's steps that one update stands for.
    """
    clip = optax.clip_by_global_norm(recipe.clip) if recipe.clip else optax.identity()
    return optax.chain(
        clip,
        optax.add_decayed_weights(recipe.weight_decay, None if recipe.decay_all else _kernels),
        optax.sgd(
            learning_rate(recipe, batches), momentum=recipe.momentum, nesterov=recipe.nesterov
        ),
    )


def learning_rate(recipe: Config, batches: int = 1) -> optax.Schedule:
    """Builds a schedule: linear warm-up to the peak, then down to `final_learning_rate`.

    The final rate is reached at the last step.

    Args:
        recipe: a training block of the config, see `optimizer`.
        batches: number of the recipe's steps that one update stands for.
    """
    peak, last, warmup = recipe.learning_rate, recipe.final_learning_rate, recipe.warmup // batches
    rest = max(recipe.steps // batches - warmup, 1)
    down = {
        "cosine": lambda: optax.cosine_decay_schedule(peak, rest, alpha=last / peak),
        "linear": lambda: optax.linear_schedule(peak, last, rest),
        "exponential": lambda: optax.exponential_decay(peak, rest, last / peak, end_value=last),
    }[recipe.schedule]()
    up = optax.linear_schedule(0.0, peak, max(warmup, 1))
    return optax.join_schedules([up, down], [warmup])


def _kernels(params: Any) -> Any:
    return jax.tree.map(lambda p: p.ndim > 1, params)


def only_used(inner: optax.GradientTransformation) -> optax.GradientTransformation:
    """Wraps an optimizer so that it changes only tensors that took part in a step.

    The others get no decay and no momentum step. In a supernet, ops that were not sampled have
    gradients of zero everywhere, which by itself would not stop decay and momentum (the release
    sets their gradient to none).
    """

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        used = jax.tree.map(lambda g: jnp.any(g != 0), grads)
        updates, new = inner.update(grads, state, params)
        updates = jax.tree.map(lambda u, on: jnp.where(on, u, 0), updates, used)
        follows = optax.tree.map_params(
            inner, lambda _, on: on, new, used, transform_non_params=lambda _: jnp.array(True)
        )
        return updates, jax.tree.map(jnp.where, follows, new, state)

    return optax.GradientTransformation(inner.init, update)
