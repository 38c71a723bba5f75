"""The optimizer that a recipe describes."""

from typing import Any

import jax
import optax

from datafree_nas.runtime.config import Config


def optimizer(recipe: Config) -> optax.GradientTransformation:
    """SGD with momentum, decay of kernels only, a cosine to zero, and clipping by global norm.

    Args:
        recipe: `learning_rate`, `warmup` (steps), `steps`, `momentum`, `nesterov`, `weight_decay`,
            `clip` (0: none).
    """
    schedule = optax.warmup_cosine_decay_schedule(
        init_value=0.0 if recipe.warmup else recipe.learning_rate,
        peak_value=recipe.learning_rate,
        warmup_steps=recipe.warmup,
        decay_steps=recipe.steps,
    )
    clip = optax.clip_by_global_norm(recipe.clip) if recipe.clip else optax.identity()
    return optax.chain(
        clip,
        optax.add_decayed_weights(recipe.weight_decay, mask=_kernels),
        optax.sgd(schedule, momentum=recipe.momentum, nesterov=recipe.nesterov),
    )


def _kernels(params: Any) -> Any:
    return jax.tree.map(lambda p: p.ndim > 1, params)
