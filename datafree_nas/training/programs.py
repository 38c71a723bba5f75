"""The programs of training a network, and the data that they read, for shapes instead of arrays."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from datafree_nas.data.images import fitting
from datafree_nas.data.labeller import Labeller
from datafree_nas.runtime import mesh, processes, programs
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.programs import Program, abstract, on_all
from datafree_nas.training import fit, stream, trainer
from datafree_nas.training.recipe import optimizer
from datafree_nas.training.trainer import TrainData


def train_data(
    count: int,
    image_size: tuple[int, int, int],
    num_classes: int,
    teacher: Any,
    recipe: Config,
    memory_gb: float,
) -> TrainData:
    """Returns the shapes of a set of images, or of the part of a stream that is on the devices.

    Args:
        count: number of images; of natural images, which are not opened here, one stands for all.
        image_size: `(h, w, c)` of the images.
        num_classes: number of logits of an image.
        teacher: shapes of the labelling network's variables.
        recipe: a training block of the config.
        memory_gb: field `config.data.memory_gb`; larger sets are streamed.
    """
    place, shape = mesh.replicated(), [count]
    streamed = count > fitting(image_size, memory_gb)
    if streamed:
        place = stream.sharding()
        shape = [stream.part_length(image_size, recipe), recipe.batch_size]

    def array(*inner: int, dtype: Any = jnp.float32) -> Any:
        return abstract(*shape, *inner, dtype=dtype, sharding=place)

    return TrainData(
        array(*image_size, dtype=jnp.uint8),
        array(dtype=jnp.int32),
        array(num_classes) if recipe.labels == "stored" else None,
        on_all(teacher) if recipe.labels == "teacher" else None,
        abstract(dtype=jnp.int32) if streamed else None,
    )


def of_training(
    name: str,
    model: nn.Module,
    labeller: Labeller,
    recipe: Config,
    image_size: tuple[int, int, int],
    images: TrainData,
) -> list[Program]:
    """Lowers the training of a network.

    Args:
        name: name of the programs in the table.
        model: network that is trained.
        labeller: classifier that gives soft labels; its variables are shapes.
        recipe: a training block of the config.
        image_size: `(h, w, c)` of the images.
        images: shapes of the data, from `train_data`.
    """
    image = jax.ShapeDtypeStruct((1, *image_size), jnp.float32)
    phase: Any = fit.phases(model, labeller, recipe)[0]
    key = jax.random.key(0)
    with processes.alone():  # these shapes are on no device yet
        state = jax.eval_shape(
            lambda v: trainer.create_train_state(key, v, optimizer(recipe), average=recipe.ema > 0),
            jax.eval_shape(model.init, key, image),
        )
    return programs.lower(name, recipe.batch_size, phase.advance, on_all(state), images)
