"""Initial variables of a network, drawn on the host.

Linen's own `init` draws tensor by tensor, and XLA compiles each draw: minutes for the hundreds of a
supernet on a CPU. Here nothing is compiled; only shapes come from the network.
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

# (path of a tensor, `a/b/kernel`; its shape) -> mean and standard deviation of its normal numbers
Rule = Callable[[str, tuple[int, ...]], tuple[float, float]]


def fan_in(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """The variance 2 / fan-in for convolutions (He et al. 2015), 1 / fan-in for dense layers.

    Scales and running variances are 1, biases and running means 0.
    """
    kind = name.rpartition("/")[2]
    if kind != "kernel":
        return (1.0 if kind in ("scale", "var") else 0.0), 0.0
    gain = 2 if len(shape) == 4 else 1
    return 0.0, math.sqrt(gain / math.prod(shape[:-1]))


def variables(model: nn.Module, key: Key[Array, ""], *inputs: Any, rule: Rule = fan_in) -> Any:
    """What a network begins with.

    Args:
        model: whose `init` gives all shapes; it is traced, not run.
        key: decides all numbers.
        *inputs: of the network, arrays or `jax.ShapeDtypeStruct`s.
        rule: says how each tensor is drawn.

    Returns:
        `params` and, if there are any, `batch_stats`, on the default device.
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
