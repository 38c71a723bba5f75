"""One step of training a classifier, and the state that it changes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, UInt8

from datafree_nas.data import augment
from datafree_nas.data.images import ImageSet
from datafree_nas.data.labeller import Labeller
from datafree_nas.runtime import mesh
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.errors import UserError


class TrainState(NamedTuple):
    """All that changes while a network is trained."""

    key: Key[Array, ""]
    step: Int[Array, ""]
    params: Any
    batch_stats: Any
    optimizer: Any
    average: Any = None  # of `params` and `batch_stats` over time, if the recipe has `ema`


class TrainData(NamedTuple):
    """Data that training reads, on the devices.

    Attributes:
        images: images as bytes, `[n h w c]`; of a stream, n batches of b images, `[n b h w c]`.
        labels: class indices, `[n]` or, of a stream, `[n b]`.
        logits: the teacher's logits on these images, `[n k]` or `[n b k]`, if the recipe uses
            stored ones.
        teacher: variables of the labelling network, if the recipe's labels are its predictions.
        first: number of the step that the first of these batches is for; only in a stream.
    """

    images: UInt8[Array, "*n h w c"]
    labels: Int[Array, "*n"]
    logits: Float[Array, "*n k"] | None = None
    teacher: Any = None
    first: Int[Array, ""] | None = None


class Batch(NamedTuple):
    """Input of a loss.

    Attributes:
        x: augmented and normalized images, of the type that layers compute in.
        labels: class indices from the data.
        soft: the teacher's logits; None if the recipe has hard labels.
        key: random key for what the network draws: a path, dropout.
    """

    x: Float[Array, "b h w c"]
    labels: Int[Array, "b"]
    soft: Float[Array, "b k"] | None
    key: Key[Array, ""]


class Outputs(NamedTuple):
    """Outputs of a network in train mode.

    Attributes:
        logits: logits of the batch.
        batch_stats: new statistics of BatchNorm.
        auxiliary: logits of the auxiliary head, if the network has one.
    """

    logits: Float[Array, "b k"]
    batch_stats: Any
    auxiliary: Float[Array, "b k"] | None = None


# (params, batch, state with everything else) -> outputs, in train mode
Forward = Callable[[Any, Batch, TrainState], Outputs]
BatchSampler = Callable[[Key[Array, ""], TrainData], Batch]
# Labels of a teacher that knows nothing have a norm of 0, and no factor makes them useful.
_LEAST_NORM = 1e-3


def create_train_state(
    key: Key[Array, ""],
    variables: Any,
    transform: optax.GradientTransformation,
    average: bool = False,
) -> TrainState:
    """Builds the state before the first step, on every device."""
    network = {"batch_stats": {}, **jax.tree.map(jnp.array, variables)}
    state = TrainState(
        key=key,
        step=jnp.zeros((), jnp.int32),
        params=network["params"],
        batch_stats=network["batch_stats"],
        optimizer=transform.init(network["params"]),
        average=jax.tree.map(jnp.copy, network) if average else None,
    )
    return mesh.put(state, mesh.replicated())


def distillation(
    logits: Float[Array, "b k"],
    teacher_logits: Float[Array, "b k"],
    temperature: float,
    form: str = "kl",
) -> Float[Array, ""]:
    """Computes the distillation loss, a mean over the batch.

    Args:
        logits: logits of the network that is trained.
        teacher_logits: logits of the teacher.
        temperature: T, by which both are divided.
        form: `kl` for the KL divergence from the teacher's softmax to the network's, times
            `gradient_scale`; `cross_entropy` for the release's loss, the cross-entropy of the two,
            without a factor.
    """
    targets = jax.nn.softmax(teacher_logits / temperature)
    if form == "cross_entropy":
        return jnp.mean(optax.softmax_cross_entropy(logits / temperature, targets))
    divergence = optax.losses.kl_divergence_with_log_targets(
        jax.nn.log_softmax(logits / temperature), jax.nn.log_softmax(teacher_logits / temperature)
    )
    return gradient_scale(targets, temperature) * jnp.mean(divergence)


def gradient_scale(targets: Float[Array, "b k"], temperature: float) -> Float[Array, ""]:
    """Computes the factor that makes gradients of a distillation loss as large as of hard labels.

    The gradient of an image's loss with respect to the logits of a network that knows nothing, and
    so predicts 1 / k for each class, is `(1 / k − target) / T` for soft targets, and `1 / k − y`
    for a one-hot label y. The factor is the ratio of the mean norms of both. T alone is too small
    where the teacher is unsure, T² too large where it is sure.

    Args:
        targets: softmax of the teacher's logits divided by `temperature`.
        temperature: temperature T of the loss.
    """
    classes = targets.shape[-1]
    of_hard_labels = (1 - 1 / classes) ** 0.5
    of_targets = jnp.mean(jnp.linalg.norm(targets - 1 / classes, axis=-1))
    return temperature * of_hard_labels / jnp.maximum(of_targets, _LEAST_NORM)


def check_labels(logits: Any, recipe: Config) -> None:
    """Raises `UserError` if the recipe uses stored logits and the set has none."""
    if recipe.labels == "stored" and logits is None:
        raise UserError(
            "labels='stored' needs images that carry the teacher's logits, which only synthetic "
            "ones do; choose labels='teacher' or 'hard'"
        )


def data_of(images: ImageSet, teacher: Any, recipe: Config) -> TrainData:
    """Puts images on the devices, with what the recipe's labels need.

    Args:
        images: set of training images.
        teacher: variables of the labelling network, used if `recipe.labels` is `teacher`.
        recipe: a training block of the config.

    Raises:
        UserError: the recipe uses stored logits and the set has none.
    """
    check_labels(images.logits, recipe)
    parts = (
        images.images,
        images.labels,
        images.logits if recipe.labels == "stored" else None,
        teacher if recipe.labels == "teacher" else None,
    )
    return TrainData(*mesh.put(parts, mesh.replicated()))


def make_batch_sampler(labeller: Labeller, recipe: Config) -> BatchSampler:
    """Builds `(key, data) -> batch`: random images, augmented, with the recipe's labels.

    If `data` is a batch from a stream, as `batch_of` returns it, all of its images are taken.

    Args:
        labeller: classifier that labels the augmented images if `recipe.labels` is `teacher`; its
            variables are those in the data.
        recipe: a training block of the config.

    Raises:
        UserError: the batch does not divide over the devices, or the augmentation makes no sense.
    """
    mesh.check_divisible(recipe.batch_size, "batch_size of a training recipe")
    augmented = augment.make_augmentation(recipe, *labeller.preprocessing)

    def sample(key: Array, data: TrainData) -> Batch:
        pick, augmentation, network = jax.random.split(key, 3)
        drawn = data if data.first is not None else _draw(pick, data, recipe.batch_size)
        x = augmented(augmentation, mesh.constrain_batch(drawn.images))
        x, soft = x.astype(recipe.dtype), drawn.logits
        if recipe.labels == "teacher":
            soft = jax.lax.stop_gradient(labeller.logits_fn(data.teacher, x).astype(jnp.float32))
        return Batch(x, drawn.labels, soft, network)

    return sample


def _draw(key: Key[Array, ""], data: TrainData, count: int) -> TrainData:
    index = jax.random.randint(key, (count,), 0, data.images.shape[0])
    return _at(data, index)


def _at(data: TrainData, index: Array) -> TrainData:
    logits = None if data.logits is None else data.logits[index]
    return data._replace(images=data.images[index], labels=data.labels[index], logits=logits)


def batch_of(data: TrainData, step: Int[Array, ""]) -> TrainData:
    """Returns the batch of a step, if the data is a stream; else the data as it is."""
    return data if data.first is None else _at(data, step - data.first)


def loss_and_accuracy(
    logits: Float[Array, "b k"], batch: Batch, recipe: Config
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Computes the recipe's loss, and the share of images with the same top class as the labels.

    With soft labels the loss is `(1 − h) distillation + h CE`, h = `hard_weight`; else it is CE,
    the cross-entropy, with `label_smoothing`.
    """
    logits = logits.astype(jnp.float32)
    hard = optax.softmax_cross_entropy(
        logits,
        optax.smooth_labels(jax.nn.one_hot(batch.labels, logits.shape[-1]), recipe.label_smoothing),
    )
    if batch.soft is None:
        return jnp.mean(hard), jnp.mean(jnp.argmax(logits, axis=-1) == batch.labels)
    loss = distillation(logits, batch.soft, recipe.temperature, recipe.distillation)
    if recipe.hard_weight:
        loss = (1 - recipe.hard_weight) * loss + recipe.hard_weight * jnp.mean(hard)
    return loss, jnp.mean(jnp.argmax(logits, axis=-1) == jnp.argmax(batch.soft, axis=-1))


def make_train_step(
    forward: Forward,
    sample: BatchSampler,
    recipe: Config,
    transform: optax.GradientTransformation,
) -> Callable[[TrainState, TrainData], tuple[TrainState, dict[str, Array]]]:
    """Builds the training step: batch, loss, SGD.

    Args:
        forward: function that runs the network in train mode.
        sample: function that draws a batch, see `make_batch_sampler`.
        recipe: a training block of the config.
        transform: optimizer of the parameters.

    Returns:
        Pure `(state, data) -> (state, metrics)`, for `repeat.repeat`. Metrics: `loss`, and
        `accuracy` with respect to the labels in use.
    """

    def step(state: TrainState, data: TrainData) -> tuple[TrainState, dict[str, Array]]:
        key = jax.random.fold_in(state.key, state.step)
        batch = sample(key, batch_of(data, state.step))

        def loss(params: Any) -> tuple[Array, tuple[Array, Any]]:
            outputs = forward(params, batch, state)
            value, accuracy = loss_and_accuracy(outputs.logits, batch, recipe)
            if outputs.auxiliary is not None:
                value += recipe.auxiliary * loss_and_accuracy(outputs.auxiliary, batch, recipe)[0]
            return value, (accuracy, outputs.batch_stats)

        gradient = jax.value_and_grad(loss, has_aux=True)
        (value, (accuracy, batch_stats)), grads = gradient(state.params)
        new = descend(state, grads, batch_stats, transform)
        if recipe.ema:
            network = {"params": new.params, "batch_stats": new.batch_stats}
            average = optax.incremental_update(network, state.average, 1 - recipe.ema)
            new = new._replace(average=average)
        return new, {"loss": value, "accuracy": accuracy}

    return step


def descend(
    state: TrainState, grads: Any, batch_stats: Any, transform: optax.GradientTransformation
) -> TrainState:
    """Returns the state after one step of the optimizer."""
    updates, moments = transform.update(grads, state.optimizer, state.params)
    return state._replace(
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        batch_stats=batch_stats,
        optimizer=moments,
    )
