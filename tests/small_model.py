"""A teacher of a few hundred weights, for tests whose artifacts have to be small."""

import flax.linen as nn
import jax.numpy as jnp

from datafree_nas.teachers import Teacher


class SmallModel(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Conv(8, (3, 3), strides=2, name="conv")(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, name="bn")(x))
        return nn.Dense(self.num_classes, name="fc")(jnp.mean(x, axis=(1, 2)))


def create(num_classes):
    """Of images of 8x8 grey pixels."""
    return Teacher(
        arch="small",
        model=SmallModel(num_classes or 10),
        num_classes=num_classes or 10,
        image_size=(8, 8, 1),
        mean=(0.3,),
        std=(0.4,),
    )
