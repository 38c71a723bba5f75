"""How well a path of a trained supernet does what the teacher does."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from datafree_nas.data.preprocessing import Preprocessing
from datafree_nas.runtime import mesh, processes
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.values import Values, integer, one_of
from datafree_nas.search.strategy import SearchData
from datafree_nas.spaces.space import Architecture, Space
from datafree_nas.training.trainer import TrainState

# On held-out images, path against teacher: share of images with the same top class; mean
# KL(teacher ‖ path) at the training temperature, in nats; correlation of all logits.
MEASURES = ("agreement", "kl", "correlation")
# values of the fields of `config.search` that scoring reads
FIELDS: dict[str, Values] = {"calibration_batches": integer(1, 10**5), "score": one_of(MEASURES)}
Number = TypeVar("Number", float, Array)  # of one architecture, or of many


def make_scorer(
    supernet: nn.Module, preprocessing: Preprocessing, config: Config
) -> Callable[[Any, Any, SearchData, Int[Array, "positions"]], dict[str, float]]:
    """Builds the scoring of one architecture; compiled once for all of them.

    BatchNorm is recalibrated first: the true average of the batch statistics over
    `config.calibration_batches` batches (the release takes an exponential average, and lets the
    order of candidates leak into it; here every candidate sees the same batches).

    Args:
        supernet: all networks of the space in one, see `Space.supernet`.
        preprocessing: normalization of the images.
        config: block `config.search`.

    Returns:
        `(params, batch_stats, data, gates) -> measures`, with a number for each of `MEASURES`.
    """
    batch, temperature = config.train.batch_size, config.train.temperature

    @jax.jit
    def statistics(params: Any, batch_stats: Any, images: Array, gates: Array) -> Any:
        variables = {"params": params, "batch_stats": batch_stats}
        x = preprocessing(mesh.constrain_batch(images))
        rngs = {"dropout": jax.random.key(0)}  # behind the last BatchNorm: it changes nothing
        _, new = supernet.apply(variables, x, gates, train=True, mutable=["batch_stats"], rngs=rngs)
        return new["batch_stats"]

    @jax.jit
    def compare(
        variables: Any, images: Array, teacher_logits: Array, gates: Array
    ) -> dict[str, Array]:
        logits = supernet.apply(variables, preprocessing(images), gates, train=False)
        same = jnp.argmax(logits, -1) == jnp.argmax(teacher_logits, -1)
        teacher, path = (jax.nn.log_softmax(z / temperature) for z in (teacher_logits, logits))
        kl = jnp.sum(jnp.exp(teacher) * (teacher - path), axis=-1)
        found = jnp.mean(same), jnp.mean(kl), _correlation(logits, teacher_logits)
        return dict(zip(MEASURES, found, strict=True))

    def score(params: Any, batch_stats: Any, data: SearchData, gates: Array) -> dict[str, float]:
        batches = [
            statistics(params, batch_stats, images, gates)
            for images in _consecutive(data.train.images, batch, config.calibration_batches)
        ]
        averaged = jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *batches)
        variables = {"params": params, "batch_stats": averaged}
        found = compare(variables, data.held_out.images, data.held_out_logits, gates)
        return {name: float(value) for name, value in found.items()}

    return score


def _correlation(
    logits: Float[Array, "m k"], teacher_logits: Float[Array, "m k"]
) -> Float[Array, ""]:
    """Computes Pearson's correlation of all logits, each less the mean of its image.

    Its square is the share of the teacher's logits that the path explains when their scale is left
    open: logits of a path that was trained little are right but small. For a path whose logits are
    all equal it is 0.
    """
    a, b = (z - jnp.mean(z, axis=-1, keepdims=True) for z in (logits, teacher_logits))
    squares = jnp.sum(a**2) * jnp.sum(b**2)
    return jnp.sum(a * b) / jnp.sqrt(jnp.maximum(squares, jnp.finfo(squares.dtype).tiny))


def score_all(
    score: Callable[..., dict[str, float]],
    train: TrainState,
    data: SearchData,
    gates: Sequence[Int[Array, "positions"]],
) -> list[dict[str, float]]:
    """Scores several architectures; each process takes some of them.

    Args:
        score: function from `make_scorer`.
        train: state of the supernet.
        data: images of the search.
        gates: op at every position, for each architecture.
    """
    train, data = mesh.replicated_here(train), mesh.replicated_here(data)
    return processes.share(gates, lambda g: score(train.params, train.batch_stats, data, g))


def row(
    space: Space, architecture: Architecture, found: dict[str, float], config: Config
) -> dict[str, Any]:
    """Makes one row of `history.jsonl`.

    Args:
        space: search space of the architecture.
        architecture: network that was scored.
        found: measures, from `make_scorer`'s function.
        config: block `config.search`; `score` names the measure that counts.
    """
    return {**costs(space, architecture), **found, "score": score_of(found, config)}


def costs(space: Space, architecture: Architecture) -> dict[str, Any]:
    """Returns what a row of `history.jsonl` says of any architecture, scored or not."""
    return {
        "architecture": space.encode(architecture),
        "macs": space.macs(architecture),
        "params": space.params(architecture),
        "memory": space.peak_memory(architecture) if space.lists_ops else None,
    }


def score_of(found: Mapping[str, Number], config: Config) -> Number:
    """Returns the score, higher is better, out of the measures from `make_scorer`'s function."""
    return -found["kl"] if config.score == "kl" else found[config.score]


def _consecutive(images: Array, batch: int, count: int) -> list[UInt8[Array, "b h w c"]]:
    """Cuts `count` batches one after another, from the start again where the images run out."""
    total = images.shape[0]
    return [
        jnp.take(images, jnp.arange(i * batch, (i + 1) * batch) % total, 0) for i in range(count)
    ]
