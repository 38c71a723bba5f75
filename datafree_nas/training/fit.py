"""Trains one network to the end of its recipe, resumably."""

from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from datafree_nas.data.images import ImageSet
from datafree_nas.runtime import backend, loop
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.metrics import MetricsWriter
from datafree_nas.training import trainer
from datafree_nas.training.recipe import optimizer
from datafree_nas.training.trainer import LogitsFn, Preprocessing

EVALUATION_BATCH = 500


def fit(
    model: nn.Module,
    images: ImageSet,
    preprocess: Preprocessing,
    recipe: Config,
    key: jax.Array,
    *,
    label: str,
    directory: Path,
    teacher: tuple[LogitsFn, Any] | None = None,
) -> Any:
    """Trains a network from scratch.

    Args:
        model: called as `apply(variables, x, train=...)`.
        images: to train on.
        preprocess: of augmented bytes.
        recipe: a training block of the config.
        key: of initialization, batches and augmentation.
        label: for progress lines.
        directory: gets `metrics.jsonl`; `directory/working` keeps the state between processes.
        teacher: gives soft labels if `recipe.labels` is `teacher`, with its variables.

    Returns:
        The trained variables, `params` and `batch_stats`.
    """
    init_key, train_key = jax.random.split(key)
    first = jnp.zeros((1, *images.images.shape[1:]))
    variables = jax.jit(model.init)(init_key, first)

    def forward(params: Any, batch_stats: Any, x: jax.Array, _key: jax.Array) -> Any:
        both = {"params": params, "batch_stats": batch_stats}
        logits, new = model.apply(both, x, train=True, mutable=["batch_stats"])
        return logits, new.get("batch_stats", {})

    teacher_fn, teacher_variables = teacher or (_no_teacher, None)
    sampler = trainer.make_sampler(teacher_fn, preprocess, recipe)
    transform = optimizer(recipe)
    step = trainer.make_step(forward, sampler, recipe, transform)
    state = loop.run(
        [loop.Phase("", recipe.steps, backend.repeat(step), every=recipe.log_every)],
        trainer.init(train_key, variables, transform),
        trainer.data_of(images, teacher_variables, recipe),
        label=label,
        directory=directory / "working",
        writer=lambda start: MetricsWriter(directory, start),
    )
    return {"params": state.params, "batch_stats": state.batch_stats}


def _no_teacher(variables: Any, x: jax.Array) -> Any:
    raise ValueError("labels='teacher' without a teacher")


def logits_of(
    logits_fn: LogitsFn, variables: Any, images: np.ndarray, preprocess: Preprocessing
) -> np.ndarray:
    """Logits `[n k]` of all images, in batches.

    Args:
        logits_fn: `(variables, normalized images) -> logits`.
        variables: of the network.
        images: `[n h w c]`, bytes.
        preprocess: of bytes.
    """
    size = min(EVALUATION_BATCH, len(images))
    run = jax.jit(lambda variables, batch: logits_fn(variables, preprocess(batch)))
    parts = []
    for start in range(0, len(images), size):
        batch = images[start : start + size]
        padded = np.pad(batch, [(0, size - len(batch))] + [(0, 0)] * 3)
        parts.append(np.asarray(run(variables, padded))[: len(batch)])
    return np.concatenate(parts)


def accuracy(
    logits_fn: LogitsFn, variables: Any, images: ImageSet, preprocess: Preprocessing
) -> float:
    """Share of images whose top class is the label."""
    logits = logits_of(logits_fn, variables, np.asarray(images.images), preprocess)
    return float(np.mean(logits.argmax(-1) == images.labels))
