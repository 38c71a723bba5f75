"""One step of training a classifier, and the state that it changes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, UInt8

from datafree_nas.data import augment
from datafree_nas.data.images import ImageSet
from datafree_nas.runtime import mesh
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.errors import UserError

# (variables, normalized images [b h w c]) -> logits [b k]; the teacher, or whoever gives labels, in
# the type of the images
LogitsFn = Callable[[Any, Array], Array]


class TrainState(NamedTuple):
    """All that changes while a network is trained."""

    key: Key[Array, ""]
    step: Int[Array, ""]
    params: Any
    batch_stats: Any
    optimizer: Any
    average: Any = None  # of `params` and `batch_stats` over time, where the recipe has `ema`


class TrainData(NamedTuple):
    """What training reads; on the devices.

    Attributes:
        images: `[n h w c]`, bytes; or, of a stream, n batches of b, `[n b h w c]`.
        labels: `[n]`, or `[n b]`.
        logits: `[n k]`, or `[n b k]`, the teacher's on these images, if the recipe takes the stored
            ones.
        teacher: variables of the labelling network, if the recipe asks it.
        first: of a stream, the step that the first of these batches is for.
    """

    images: UInt8[Array, "*n h w c"]
    labels: Int[Array, "*n"]
    logits: Float[Array, "*n k"] | None = None
    teacher: Any = None
    first: Int[Array, ""] | None = None


class Batch(NamedTuple):
    """What a loss sees.

    Attributes:
        x: augmented and normalized images, of the type that layers compute in.
        labels: of the data.
        soft: the teacher's logits; None where the recipe has hard labels.
        key: of whatever the network draws: a path, dropout.
    """

    x: Float[Array, "b h w c"]
    labels: Int[Array, "b"]
    soft: Float[Array, "b k"] | None
    key: Key[Array, ""]


class Outputs(NamedTuple):
    """What a network in train mode gives.

    Attributes:
        logits: of the batch.
        batch_stats: the new ones.
        auxiliary: logits of its auxiliary head, if it has one.
    """

    logits: Float[Array, "b k"]
    batch_stats: Any
    auxiliary: Float[Array, "b k"] | None = None


# (params, batch, state with everything else) -> outputs, in train mode
Forward = Callable[[Any, Batch, TrainState], Outputs]
Sampler = Callable[[Key[Array, ""], TrainData], Batch]


class Preprocessing(NamedTuple):
    """How bytes become what a network sees."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: UInt8[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Normalizes a batch."""
        return augment.normalize(images, self.mean, self.std)


def init(
    key: Key[Array, ""],
    variables: Any,
    transform: optax.GradientTransformation,
    average: bool = False,
) -> TrainState:
    """A state with freshly initialized variables, on every device."""
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
    logits: Float[Array, "b k"], teacher_logits: Float[Array, "b k"], temperature: float
) -> Float[Array, ""]:
    """`−Σ softmax(teacher / T) · log softmax(student / T)`, mean over the batch, without T²."""
    targets = jax.nn.softmax(teacher_logits / temperature)
    return jnp.mean(optax.softmax_cross_entropy(logits / temperature, targets))


def check_labels(logits: Any, recipe: Config) -> None:
    """Raises `UserError` if the recipe wants logits of a set that has none."""
    if recipe.labels == "stored" and logits is None:
        raise UserError(
            "labels='stored' needs images that carry the teacher's logits, which only synthetic "
            "ones do; choose labels='teacher' or 'hard'"
        )


def data_of(images: ImageSet, teacher: Any, recipe: Config) -> TrainData:
    """Puts images on the devices, with what the recipe's labels need.

    Args:
        images: to train on.
        teacher: variables of the labelling network, used if `recipe.labels` is `teacher`.
        recipe: a training block of the config.

    Raises:
        UserError: stored logits are asked for and there are none.
    """
    check_labels(images.logits, recipe)
    parts = (
        images.images,
        images.labels,
        images.logits if recipe.labels == "stored" else None,
        teacher if recipe.labels == "teacher" else None,
    )
    return TrainData(*mesh.put(parts, mesh.replicated()))


def make_sampler(teacher_fn: LogitsFn, preprocess: Preprocessing, recipe: Config) -> Sampler:
    """Builds `(key, data) -> batch`: random images, augmented, with the recipe's labels.

    Of a stream, `data` is what `batch_of` gives, and the images are not drawn once more.

    Args:
        teacher_fn: labels the augmented images if `recipe.labels` is `teacher`.
        preprocess: of bytes.
        recipe: a training block of the config.

    Raises:
        UserError: the batch does not divide over the devices, or the augmentation makes no sense.
    """
    mesh.check_divisible(recipe.batch_size, "batch_size of a training recipe")
    augmented = augment.make(recipe, preprocess.mean, preprocess.std)

    def sample(key: Array, data: TrainData) -> Batch:
        pick, augmentation, network = jax.random.split(key, 3)
        drawn = data if data.first is not None else _draw(pick, data, recipe.batch_size)
        x = augmented(augmentation, mesh.constrain_batch(drawn.images))
        x, soft = x.astype(recipe.dtype), drawn.logits
        if recipe.labels == "teacher":
            soft = jax.lax.stop_gradient(teacher_fn(data.teacher, x).astype(jnp.float32))
        return Batch(x, drawn.labels, soft, network)

    return sample


def _draw(key: Key[Array, ""], data: TrainData, count: int) -> TrainData:
    index = jax.random.randint(key, (count,), 0, data.images.shape[0])
    return _at(data, index)


def _at(data: TrainData, index: Array) -> TrainData:
    logits = None if data.logits is None else data.logits[index]
    return data._replace(images=data.images[index], labels=data.labels[index], logits=logits)


def batch_of(data: TrainData, step: Int[Array, ""]) -> TrainData:
    """Of a stream, the batch of a step; a set that is all there, as it is."""
    return data if data.first is None else _at(data, step - data.first)


def loss_and_accuracy(
    logits: Float[Array, "b k"], batch: Batch, recipe: Config
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The recipe's loss, and the share of images whose top class is that of the labels.

    `(1 − h) distillation + h CE`, h = `hard_weight`, where there are soft labels; else CE, with
    `label_smoothing`.
    """
    logits = logits.astype(jnp.float32)
    hard = optax.softmax_cross_entropy(
        logits,
        optax.smooth_labels(jax.nn.one_hot(batch.labels, logits.shape[-1]), recipe.label_smoothing),
    )
    if batch.soft is None:
        return jnp.mean(hard), jnp.mean(jnp.argmax(logits, axis=-1) == batch.labels)
    loss = distillation(logits, batch.soft, recipe.temperature)
    if recipe.hard_weight:
        loss = (1 - recipe.hard_weight) * loss + recipe.hard_weight * jnp.mean(hard)
    return loss, jnp.mean(jnp.argmax(logits, axis=-1) == jnp.argmax(batch.soft, axis=-1))


def make_step(
    forward: Forward,
    sample: Sampler,
    recipe: Config,
    transform: optax.GradientTransformation,
) -> Callable[[TrainState, TrainData], tuple[TrainState, dict[str, Array]]]:
    """Builds the step: batch, loss, SGD.

    Args:
        forward: the network in train mode.
        sample: draws a batch, see `make_sampler`.
        recipe: a training block of the config.
        transform: the optimizer.

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
    """The state after one step of the optimizer."""
    updates, moments = transform.update(grads, state.optimizer, state.params)
    return state._replace(
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        batch_stats=batch_stats,
        optimizer=moments,
    )
