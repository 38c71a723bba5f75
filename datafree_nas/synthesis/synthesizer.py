"""One iteration of the synthesis, as a pure function of a state."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from datafree_nas.runtime import mesh
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.precision import network_in
from datafree_nas.synthesis import losses
from datafree_nas.synthesis.canvas import Canvas
from datafree_nas.teachers import Teacher, apply_with_taps

Metrics = dict[str, Float[Array, ""]]


class SynthesisState(NamedTuple):
    """Everything that changes while a batch is synthesized.

    Attributes:
        key: random key of the work unit; iteration i uses `fold_in(key, i)`.
        iteration: number of iterations since the current resolution began.
        params: parameters of the synthesizer; for a canvas `{"pixels": [b H W c]}`, normalized.
        optimizer: state of Adam.
        targets: probabilities of the classes, `[b k]`.
    """

    key: Key[Array, ""]
    iteration: Int[Array, ""]
    params: Any
    optimizer: Any
    targets: Float[Array, "b k"]


class Frozen(NamedTuple):
    """Variables that a step reads and does not change.

    Attributes:
        teacher: weights and statistics of the teacher.
        student: weights and statistics of the competing student; `None` if there is none.
    """

    teacher: Any
    student: Any = None


def canvas(teacher: Teacher, batch: int, config: Config) -> Canvas:
    """Builds the synthesizer of a batch."""
    height, width, channels = teacher.image_size
    margin = config.margin
    shape = (batch, height + margin, width + margin, channels)
    return Canvas(shape, margin, config.noise, config.roll)


def create_synthesis_state(
    key: Key[Array, ""],
    targets: Int[Array, "b"] | Float[Array, "b k"],
    teacher: Teacher,
    config: Config,
) -> SynthesisState:
    """Returns the first state of a batch, split over the devices; its pixels are noise.

    Args:
        key: random key of the work unit.
        targets: class of each image, or probabilities of the classes.
        teacher: teacher that is inverted; its image size and number of classes are used.
        config: settings of the synthesis, `config.synthesis`.
    """
    if targets.ndim == 1:
        targets = jax.nn.one_hot(targets, teacher.num_classes)
    init_key, key = jax.random.split(key)
    window = (jnp.zeros(2, jnp.int32), jnp.array(False), 1)
    params = canvas(teacher, targets.shape[0], config).init(init_key, *window)["params"]
    return restart(
        SynthesisState(
            key=mesh.put(key, mesh.replicated()),
            iteration=jnp.zeros((), jnp.int32),
            params=mesh.put(params, mesh.split_over_data()),
            optimizer=None,
            targets=mesh.put(targets, mesh.split_over_data()),
        )
    )


def restart(state: SynthesisState) -> SynthesisState:
    """Returns a state with the same pixels, a new Adam and iteration 0, for the next resolution."""
    on_all = mesh.replicated()
    zero = mesh.put(jnp.zeros((), jnp.int32), on_all)
    moments = optax.scale_by_adam().init(state.params)._replace(count=zero)
    return state._replace(iteration=jnp.copy(zero), optimizer=moments)


def learning_rate(config: Config, iterations: int) -> optax.Schedule:
    """Returns a schedule: linear warm-up, then half a cosine down to zero.

    Args:
        config: settings of the synthesis, `config.synthesis`.
        iterations: number of iterations of the resolution, warm-up included.
    """
    warmup = min(config.warmup, iterations)

    def schedule(i: Array | int) -> Array:
        ramp = (i + 1) / max(warmup, 1)
        wave = 0.5 * (1 + jnp.cos(jnp.pi * (i - warmup) / max(iterations - warmup, 1)))
        return config.learning_rate * jnp.where(i < warmup, ramp, wave)

    return schedule


def make_synthesis_step(
    teacher: Teacher,
    config: Config,
    *,
    batch: int,
    pool: int,
    iterations: int,
    student: nn.Module | None = None,
) -> Callable[[SynthesisState, Frozen], tuple[SynthesisState, Metrics]]:
    """Builds the step of one resolution.

    Args:
        teacher: teacher that is inverted.
        config: settings of the synthesis, `config.synthesis`.
        batch: number of images.
        pool: side of the average pooling, in pixels; 1 for full resolution.
        iterations: number of iterations of the resolution, for the learning rate's schedule.
        student: student that competes with the teacher; used if `config.competition` is not 0.

    Returns:
        A pure function `(state, variables) -> (state, metrics)` for `repeat.repeat`. It takes
        gradients with respect to the pixels only.
    """
    synthesizer = canvas(teacher, batch, config)
    schedule = learning_rate(config, iterations)
    adam = optax.scale_by_adam(*config.betas)
    low = -jnp.array(teacher.mean) / jnp.array(teacher.std)
    high = (1 - jnp.array(teacher.mean)) / jnp.array(teacher.std)

    def loss(params: Any, view: tuple, targets: Array, frozen: Frozen) -> tuple[Array, Metrics]:
        window = synthesizer.apply({"params": params}, *view)
        terms, confidence = _terms(window, targets, frozen, teacher, student, config)
        total = sum((config[name] * term for name, term in terms.items()), jnp.float32(0))
        return total, {"loss": total, **terms, "confidence": confidence}

    def step(state: SynthesisState, frozen: Frozen) -> tuple[SynthesisState, Metrics]:
        view = _view(jax.random.fold_in(state.key, state.iteration), pool, config)
        grads, metrics = jax.grad(loss, has_aux=True)(state.params, view, state.targets, frozen)
        updates, optimizer = adam.update(grads, state.optimizer)
        rate = schedule(state.iteration)
        params = jax.tree.map(lambda p, u: jnp.clip(p - rate * u, low, high), state.params, updates)
        return (
            state._replace(iteration=state.iteration + 1, params=params, optimizer=optimizer),
            metrics,
        )

    return step


def _view(key: Array, pool: int, config: Config) -> tuple[Array, Array, int]:
    offset_key, flip_key = jax.random.split(key)
    least, most = (-config.roll, config.roll) if config.roll else (0, config.margin)
    offset = jax.random.randint(offset_key, (2,), -(-least // pool), most // pool + 1)
    flip = jax.random.bernoulli(flip_key) if config.flip else jnp.array(False)
    return offset, flip, pool


def _terms(
    window: Array,
    targets: Array,
    frozen: Frozen,
    teacher: Teacher,
    student: nn.Module | None,
    config: Config,
) -> tuple[Metrics, Array]:
    """Returns the terms of the loss, and the teacher's mean confidence.

    A term has the name of its weight in the config. Terms of weight 0 are left out, except the
    cross-entropy.
    """
    groups = window.shape[0] // config.batch_norm_group if config.batch_norm_group else 1
    dtype = jnp.dtype(config.dtype)
    seen = window.astype(dtype)
    variables = network_in(dtype, frozen.teacher)
    logits, taps = apply_with_taps(teacher.model, variables, seen, groups)
    logits = logits.astype(jnp.float32)
    terms = {"cross_entropy": losses.cross_entropy(logits, targets)}
    if config.batch_norm:
        terms["batch_norm"] = losses.batch_norm_matching(taps, config.first_batch_norm)
    for name, prior in (("tv_l1", losses.tv_l1), ("tv_l2", losses.tv_l2), ("l2", losses.l2)):
        if config[name]:
            terms[name] = prior(window)
    if config.competition and student is not None:
        theirs = student.apply(network_in(dtype, frozen.student), seen, train=False)
        theirs = theirs.astype(jnp.float32)
        terms["competition"] = losses.competition(logits, theirs, config.competition_temperature)
    return terms, jnp.mean(jnp.max(jax.nn.softmax(logits), axis=-1))
