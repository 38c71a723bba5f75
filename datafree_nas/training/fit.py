"""Trains one network to the end of its recipe; an interrupted training can be resumed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from datafree_nas.data.images import Images, ImageSet, Records
from datafree_nas.data.labeller import Labeller
from datafree_nas.layers import initial
from datafree_nas.layers.initial import Rule
from datafree_nas.runtime import loop, mesh, processes
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.loop import Phase
from datafree_nas.runtime.metrics import MetricsWriter
from datafree_nas.runtime.precision import weights_in
from datafree_nas.runtime.repeat import repeat
from datafree_nas.training import stream, trainer
from datafree_nas.training.recipe import optimizer
from datafree_nas.training.trainer import (
    Batch,
    BatchSampler,
    Forward,
    Outputs,
    TrainData,
    TrainState,
)

EVALUATION_BATCH = 500
EVALUATION_PART = 5000  # images in memory at once, if the whole set is not
BATCH_NORM_MOMENTUM = 0.9  # in all networks but supernets


def fit(
    model: nn.Module,
    images: Images,
    labeller: Labeller,
    recipe: Config,
    key: jax.Array,
    *,
    label: str,
    directory: Path,
    rule: Rule = initial.fan_in,
) -> Any:
    """Trains a network from scratch.

    Args:
        model: Linen module, called as `apply(variables, x, train=...)`, in train mode with
            `drop_path=...` as well if the recipe has it. Logits of an auxiliary head are in the
            collection `auxiliary`.
        images: training images; those that are not in memory are streamed.
        labeller: classifier that gives the soft labels if `recipe.labels` is `teacher`; its
            preprocessing is that of the network.
        recipe: a training block of the config.
        key: random key of initialization, batches and augmentation.
        label: text that progress lines begin with.
        directory: directory that gets `metrics.jsonl`; `working` in it keeps the state, from which
            an interrupted training is resumed.
        rule: mean and standard deviation of the initial values, see `initial.Rule`.

    Returns:
        The trained variables, `params` and `batch_stats`.
    """
    init_key, train_key = jax.random.split(key)
    image = jax.ShapeDtypeStruct((1, *images.image_size), jnp.float32)
    variables = initial.variables(model, init_key, image, rule=rule)
    with mesh.for_batches(recipe.batch_size, images.image_size):
        if isinstance(images, Records):
            data: Any = stream.feed(images, labeller.variables, recipe, train_key)
        else:
            data = trainer.data_of(images, labeller.variables, recipe)
        state = loop.run_phases(
            phases(model, labeller, recipe),
            trainer.create_train_state(
                train_key, variables, optimizer(recipe), average=recipe.ema > 0
            ),
            data,
            label=label,
            directory=directory / "working",
            writer=lambda start: MetricsWriter(directory, start),
        )
    if recipe.ema and not recipe.calibration_batches:
        return state.average
    return {"params": state.params, "batch_stats": state.batch_stats}


def phases(model: nn.Module, labeller: Labeller, recipe: Config) -> list[Phase]:
    """Returns the phases of `fit`, which change a `TrainState`; for the arguments see `fit`."""
    sample, forward = trainer.make_batch_sampler(labeller, recipe), _forward(model, recipe)
    step = trainer.make_train_step(forward, sample, recipe, optimizer(recipe))
    training = Phase("", recipe.steps, repeat(step), every=recipe.log_every)
    if not recipe.calibration_batches:
        return [training]
    return [training, _calibration(forward, sample, recipe)]


def _forward(model: nn.Module, recipe: Config) -> Forward:
    def forward(params: Any, batch: Batch, state: TrainState) -> Outputs:
        settings = {}
        if recipe.drop_path:
            settings["drop_path"] = recipe.drop_path * state.step / recipe.steps
        dropout, drop_path = jax.random.split(batch.key)
        logits, new = model.apply(
            {"params": weights_in(batch.x.dtype, params), "batch_stats": state.batch_stats},
            batch.x,
            train=True,
            mutable=["batch_stats", "auxiliary"],
            rngs={"dropout": dropout, "drop_path": drop_path},
            **settings,
        )
        auxiliary = new["auxiliary"]["logits"][0] if recipe.auxiliary else None
        return Outputs(logits, new.get("batch_stats", {}), auxiliary)

    return forward


def _calibration(forward: Forward, sample: BatchSampler, recipe: Config) -> Phase:
    """Builds the phase that averages BatchNorm's statistics over batches.

    The weights are those that `fit` returns: their average over time if the recipe has `ema`.
    """
    count = recipe.calibration_batches

    def enter(state: TrainState) -> TrainState:
        params = state.average["params"] if recipe.ema else state.params
        return state._replace(
            params=jax.tree.map(jnp.copy, params),
            batch_stats=jax.tree.map(jnp.zeros_like, state.batch_stats),
        )

    def step(state: TrainState, data: TrainData) -> tuple[TrainState, dict[str, jax.Array]]:
        key = jax.random.fold_in(state.key, state.step)
        batch = sample(key, trainer.batch_of(data, state.step))
        # if the running statistics are 0, the new ones are a known share of the batch's own
        none = state._replace(batch_stats=jax.tree.map(jnp.zeros_like, state.batch_stats))
        outputs = forward(state.params, batch, none)
        scale = 1 / (count * (1 - BATCH_NORM_MOMENTUM))
        total = jax.tree.map(lambda s, new: s + scale * new, state.batch_stats, outputs.batch_stats)
        loss, accuracy = trainer.loss_and_accuracy(outputs.logits, batch, recipe)
        new = state._replace(step=state.step + 1, batch_stats=total)
        return new, {"loss": loss, "accuracy": accuracy}

    advance = repeat(step)
    return Phase("calibration", count, advance, every=recipe.log_every, enter=enter)


def logits_of(labeller: Labeller, images: np.ndarray) -> np.ndarray:
    """Computes the logits `[n k]` of all images, in batches that are split over the devices.

    Args:
        labeller: network with its weights.
        images: images as bytes, `[n h w c]`.

    Raises:
        Interrupted: a signal came.
    """
    across = len(mesh.devices())
    size = across * -(-min(EVALUATION_BATCH, len(images)) // across)
    run = jax.jit(
        lambda variables, batch: labeller.logits_fn(variables, labeller.preprocessing(batch)),
        out_shardings=mesh.replicated(),
    )
    variables, parts = mesh.put(labeller.variables, mesh.replicated()), []
    for start in range(0, len(images), size):
        processes.check_stop()
        batch = images[start : start + size]
        padded = np.pad(batch, [(0, size - len(batch))] + [(0, 0)] * 3)
        logits = run(variables, mesh.put(padded, mesh.split_over_data()))
        parts.append(np.asarray(logits)[: len(batch)])
    return np.concatenate(parts)


def accuracy(labeller: Labeller, images: Images) -> float:
    """Computes the share of images whose top class is the label."""
    right = 0
    for part in _in_memory(images):
        logits = logits_of(labeller, np.asarray(part.images))
        right += int(np.sum(logits.argmax(-1) == part.labels))
    return right / images.size


def _in_memory(images: Images) -> Iterator[ImageSet]:
    """Yields the images of a set, in several parts if it is not in memory."""
    if isinstance(images, ImageSet):
        yield images
        return
    for start in range(0, images.size, EVALUATION_PART):
        yield images.take(np.arange(start, min(start + EVALUATION_PART, images.size)))
