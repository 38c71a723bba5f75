"""Initial variables of a network, drawn on the host.

Linen's own `init` draws each tensor separately, and XLA compiles each draw: for the hundreds of
tensors of a supernet, this takes minutes on a CPU. Here nothing is compiled: only the shapes come
from the network.
"""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from datafree_nas.runtime import seeds

# (path of a tensor such as `a/b/kernel`, its shape) -> mean and deviation of a normal distribution
Rule = Callable[[str, tuple[int, ...]], tuple[float, float]]


def fan_in(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Gives the variance 2 / fan-in to convolutions (He et al. 2015), 1 / fan-in to dense layers.

    Scales and running variances are 1, biases and running means are 0.
    """
    kind = name.rpartition("/")[2]
    if kind != "kernel":
        return (1.0 if kind in ("scale", "var") else 0.0), 0.0
    gain = 2 if len(shape) == 4 else 1
    return 0.0, math.sqrt(gain / math.prod(shape[:-1]))


def variables(model: nn.Module, key: Key[Array, ""], *inputs: Any, rule: Rule = fan_in) -> Any:
    """Draws the initial variables of a network.

    Args:
        model: network whose `init` gives all shapes; it is traced, not run.
        key: random key of all numbers.
        *inputs: inputs of the network, arrays or `jax.ShapeDtypeStruct`s.
        rule: function that gives the mean and the standard deviation of each tensor.

    Returns:
        `params` and, if the network has them, `batch_stats`, on the default device.
    """
    generator = seeds.numpy_generator(key)

    def draw(path: Any, abstract: jax.ShapeDtypeStruct) -> Array:
        mean, deviation = rule("/".join(entry.key for entry in path[1:]), abstract.shape)
        if not deviation:
            return jnp.full(abstract.shape, mean, abstract.dtype)
        normal = generator.standard_normal(abstract.shape, np.float32)
        return jnp.asarray(mean + deviation * normal, abstract.dtype)

    shapes = jax.eval_shape(model.init, key, *inputs)
    return jax.tree_util.tree_map_with_path(draw, shapes)
