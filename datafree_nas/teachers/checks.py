"""Checks of a teacher that need no data, and what goes wrong if one of them fails."""

from typing import Any, NamedTuple

import jax
import numpy as np

from datafree_nas.teachers.teacher import Teacher

NOISE_IMAGES = 4
_SAME = 1e-5  # relative spread of logits below which predictions count as constant


class Check(NamedTuple):
    """Result of one check.

    Attributes:
        name: name of what was checked.
        passed: whether the teacher passes the check.
        message: text for the user: what was found and, after a failure, what follows and what to
            do.
    """

    name: str
    passed: bool
    message: str


def architecture(teacher: Teacher, source: dict[str, str]) -> Check:
    """Checks that the architecture is certain; some have the same keys and shapes.

    Args:
        teacher: description of the chosen teacher.
        source: origin of the weights, as `port.port` returns it.
    """
    others, compared = source.get("also_fits"), source.get("logits")
    message = f"; its keys and shapes fit {others} as well" if others else ""
    if compared:
        message += f"; compared with its original: {compared}"
    elif others:
        message += ": say which it is by --arch, or compare by --check_logits"
    return Check("architecture", not others or bool(compared), teacher.arch + message)


def run_checks(teacher: Teacher, variables: Any) -> list[Check]:
    """Checks the weights, the statistics, and the predictions on noise.

    Args:
        teacher: description and module of the teacher.
        variables: weights and statistics of the teacher.
    """
    layers = statistics(variables)
    return [
        _has_layers(layers),
        _finite(variables),
        _trained(layers),
        _variances(layers),
        _predictions(teacher, variables),
    ]


def statistics(variables: Any) -> dict[str, dict[str, np.ndarray]]:
    """Returns `mean` and `var` of every BatchNorm layer, by the path of the layer."""
    layers: dict[str, dict[str, np.ndarray]] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables.get("batch_stats", {})):
        *module, name = (entry.key for entry in path)
        layers.setdefault(".".join(module), {})[name] = np.asarray(leaf)
    return layers


def _has_layers(layers: dict[str, dict[str, np.ndarray]]) -> Check:
    consequence = "" if layers else ": synthesis has no statistics to match; choose another teacher"
    return Check("BatchNorm layers", bool(layers), f"{len(layers)}{consequence}")


def _finite(variables: Any) -> Check:
    bad = [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables)
        if not np.isfinite(leaf).all()
    ]
    if bad:
        return Check("finite", False, f"{bad[0]} is not: every prediction will be NaN")
    return Check("finite", True, "all weights and statistics are")


def _trained(layers: dict[str, dict[str, np.ndarray]]) -> Check:
    untouched = [
        name
        for name, layer in layers.items()
        if np.all(layer["mean"] == 0) and np.all(layer["var"] == 1)
    ]
    if not untouched:
        return Check("statistics", True, "every layer's have moved from 0 and 1")
    return Check(
        "statistics",
        False,
        f"{len(untouched)} of {len(layers)} layers have mean 0 and variance 1, {untouched[0]} "
        "first: they never saw data, or BatchNorm was folded away; images made from them will show "
        "nothing; port a checkpoint saved after training, with running statistics",
    )


def _variances(layers: dict[str, dict[str, np.ndarray]]) -> Check:
    zero = {name: int(np.sum(layer["var"] <= 0)) for name, layer in layers.items()}
    dead = {name: count for name, count in zero.items() if count}
    if not dead:
        return Check("variances", True, "none is zero")
    first = next(iter(dead))
    return Check(
        "variances",
        False,
        f"{sum(dead.values())} channels in {len(dead)} layers have none, {first} first: they were "
        "constant in training; harmless where they are few among many, as in EfficientNet-Lite",
    )


def _predictions(teacher: Teacher, variables: Any) -> Check:
    """Checks predictions on Gaussian noise with mean and deviation of the training images."""
    noise = jax.random.normal(jax.random.key(0), (NOISE_IMAGES, *teacher.image_size))
    predict = jax.jit(lambda variables, x: teacher.model.apply(variables, x, train=False))
    logits = np.asarray(predict(variables, noise))
    name = "predictions on noise"
    if not np.isfinite(logits).all():
        return Check(name, False, "not finite: weights and statistics do not belong together")
    spread, size = np.ptp(logits, axis=0).max(), np.abs(logits).max()
    if spread <= _SAME * size:
        return Check(name, False, "the same for all images: nothing of the image reaches the head")
    classes = len(np.unique(logits.argmax(-1)))
    return Check(name, True, f"{classes} classes among {NOISE_IMAGES} images")
