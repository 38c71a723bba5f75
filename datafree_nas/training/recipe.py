"""The optimizer that a recipe describes."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from datafree_nas.data import augment
from datafree_nas.runtime import mesh
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.precision import DTYPES
from datafree_nas.runtime.values import (
    BATCH_SIZE,
    COUNT,
    COUNT_OR_NONE,
    LEARNING_RATE,
    SHARE,
    SHARE_BELOW_1,
    TEMPERATURE,
    WEIGHT,
    Values,
    boolean,
    integer,
    list_of,
    number,
    one_of,
)

SCHEDULES = ("cosine", "linear", "exponential")
DISTILLATIONS = ("kl", "cross_entropy")
_PIXELS = integer(0, 4096)
# values of the fields of a training block of the config
FIELDS: dict[str, Values] = {
    "steps": COUNT,
    "batch_size": BATCH_SIZE,
    "dtype": one_of(DTYPES),
    "learning_rate": LEARNING_RATE,
    "schedule": one_of(SCHEDULES),
    "final_learning_rate": number(0, 1e3),
    "warmup": COUNT_OR_NONE,
    "momentum": SHARE_BELOW_1,
    "nesterov": boolean(),
    "weight_decay": number(0, 1e3),
    "decay_all": boolean(),
    "clip": WEIGHT,
    "labels": one_of(("teacher", "stored", "hard")),
    "distillation": one_of(DISTILLATIONS),
    "temperature": TEMPERATURE,
    "hard_weight": SHARE,
    "label_smoothing": SHARE_BELOW_1,
    "dropout": SHARE_BELOW_1,
    "drop_path": SHARE_BELOW_1,
    "auxiliary": WEIGHT,
    "ema": SHARE_BELOW_1,
    "calibration_batches": integer(0, 10**5),
    "crop_padding": _PIXELS,
    "crop_scale": list_of(
        number(0, 1, above=True), (2,), "(least, greatest) share of the area"
    ).or_empty("no such crop"),
    "flip": boolean(),
    "color_jitter": list_of(SHARE, (4,), "(brightness, contrast, saturation, hue)").or_empty(
        "none"
    ),
    "lighting": number(0, 10),
    "cutout": _PIXELS,
    "mixup": boolean(),
    "log_every": COUNT,
}


def check(recipe: Config, place: str, image_size: tuple[int, int, int]) -> None:
    """Checks that the fields of a recipe fit together, and fit the images and devices.

    Args:
        recipe: a training block of the config.
        place: path of the block, for messages.
        image_size: `(h, w, c)` of the images.

    Raises:
        UserError: they do not fit; the message names field, value and remedy.
    """
    _check_schedule(recipe, place)
    augment.check(recipe, image_size[2], place)
    with mesh.for_batches(recipe.batch_size, image_size):
        mesh.check_divisible(recipe.batch_size, f"config.{place}.batch_size")


def check_not_stored(recipe: Config, what: str) -> None:
    """Checks that a recipe does not ask real or random images for the teacher's stored logits.

    Args:
        recipe: a training block of the config.
        what: field or rows whose images are not synthetic, for the message.

    Raises:
        UserError: it does.
    """
    if recipe.labels == "stored":
        raise UserError(
            f"{what} cannot have labels='stored': only synthetic images carry the teacher's "
            "logits; choose labels='teacher' or 'hard'"
        )


def check_unused(recipe: Config, place: str, names: Iterable[str]) -> None:
    """Checks that fields which only students make use of are 0.

    Args:
        recipe: a training block of the config.
        place: path of the block, for messages.
        names: fields that have to be 0.

    Raises:
        UserError: one of them is not 0.
    """
    for name in names:
        if recipe[name]:
            raise UserError(f"config.{place}.{name} is for students alone; set it to 0")


def _check_schedule(recipe: Config, place: str) -> None:
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
