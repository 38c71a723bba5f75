"""One step of training a classifier, and the state that it changes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, UInt8

from datafree_nas.data import augment
from datafree_nas.runtime import mesh
from datafree_nas.runtime.config import Config
from datafree_nas.training import recipe as recipes

# (variables, normalized images [b h w c]) -> logits [b k]; the teacher, or whoever gives labels
LogitsFn = Callable[[Any, Array], Array]
# (params, batch_stats, normalized images, key) -> (logits, new batch_stats), in train mode
Forward = Callable[[Any, Any, Array, Array], tuple[Array, Any]]


class TrainState(NamedTuple):
    """All that changes while a network is trained."""

    key: Key[Array, ""]
    step: Int[Array, ""]
    params: Any
    batch_stats: Any
    optimizer: Any


class TrainData(NamedTuple):
    """What training reads; on the devices.

    Attributes:
        images: `[n h w c]`, bytes.
        labels: `[n]`.
        teacher: variables of the labelling network; None for hard labels.
    """

    images: UInt8[Array, "n h w c"]
    labels: Int[Array, "n"]
    teacher: Any = None


class Preprocessing(NamedTuple):
    """How bytes become what a network sees."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: UInt8[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Normalizes a batch."""
        return augment.normalize(images, self.mean, self.std)


def init(key: Key[Array, ""], variables: Any, recipe: Config) -> TrainState:
    """A state with freshly initialized variables, on every device."""
    params = variables["params"]
    state = TrainState(
        key=key,
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        optimizer=recipes.optimizer(recipe).init(params),
    )
    return jax.device_put(state, mesh.replicated())


def distillation(
    logits: Float[Array, "b k"], teacher_logits: Float[Array, "b k"], temperature: float
) -> Float[Array, ""]:
    """`−Σ softmax(teacher / T) · log softmax(student / T)`, mean over the batch, without T²."""
    targets = jax.nn.softmax(teacher_logits / temperature)
    return jnp.mean(optax.softmax_cross_entropy(logits / temperature, targets))


def make_step(
    forward: Forward, teacher_fn: LogitsFn | None, preprocess: Preprocessing, recipe: Config
) -> Callable[[TrainState, TrainData], tuple[TrainState, dict[str, Array]]]:
    """Builds the step: random batch, augmentation, labels, loss, SGD.

    Args:
        forward: the network in train mode.
        teacher_fn: labels the augmented images, softened by `recipe.temperature`; None: the hard
            labels of the data are used.
        preprocess: of augmented bytes.
        recipe: a training block of the config.

    Returns:
        Pure `(state, data) -> (state, metrics)`, for `backend.repeat`. Metrics: `loss`, and
        `accuracy` with respect to the labels in use.

    Raises:
        UserError: the batch does not divide over the devices.
    """
    mesh.check_divisible(recipe.batch_size, "batch_size of a training recipe")
    transform = recipes.optimizer(recipe)

    def step(state: TrainState, data: TrainData) -> tuple[TrainState, dict[str, Array]]:
        pick, augmentation, network = jax.random.split(jax.random.fold_in(state.key, state.step), 3)
        index = jax.random.randint(pick, (recipe.batch_size,), 0, data.images.shape[0])
        images = mesh.constrain_batch(data.images[index])
        images = augment.augment(augmentation, images, recipe.crop_padding, recipe.flip)
        x = preprocess(images)
        if teacher_fn:
            teacher_logits = jax.lax.stop_gradient(teacher_fn(data.teacher, x))
            labels = jnp.argmax(teacher_logits, axis=-1)
        else:
            labels = data.labels[index]

        def loss(params: Any) -> tuple[Array, tuple[Array, Any]]:
            logits, batch_stats = forward(params, state.batch_stats, x, network)
            if teacher_fn:
                value = distillation(logits, teacher_logits, recipe.temperature)
            else:
                value = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))
            return value, (logits, batch_stats)

        gradient = jax.value_and_grad(loss, has_aux=True)
        (value, (logits, batch_stats)), grads = gradient(state.params)
        updates, optimizer = transform.update(grads, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        accuracy = jnp.mean(jnp.argmax(logits, axis=-1) == labels)
        new = state._replace(
            step=state.step + 1, params=params, batch_stats=batch_stats, optimizer=optimizer
        )
        return new, {"loss": value, "accuracy": accuracy}

    return step
