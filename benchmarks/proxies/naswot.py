"""NASWOT (Mellor et al. 2021): how differently a network's ReLUs react to different images."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from benchmarks.proxies import untrained
from datafree_nas.spaces.space import Architecture, Space

_IMAGES = 64


def proxy(space: Space, architecture: Architecture, key: jax.Array) -> dict[str, float]:
    """`log |det K|`, K of `agreement`; −inf where two images have the same codes."""
    of_weights, of_images = jax.random.split(key)
    network, variables = untrained.create(space, architecture, of_weights)
    x = untrained.noise(space, _IMAGES, of_images)
    _, relus = untrained.with_relu_inputs(partial(untrained.apply, network), variables, x)
    return {"naswot": float(np.linalg.slogdet(agreement(relus))[1])}


def agreement(relus: list[Float[Array, "b ..."]]) -> Float[np.ndarray, "b b"]:
    """For every two images, how many ReLUs are on for both or off for both.

    Args:
        relus: inputs of each.
    """
    total = np.zeros([len(relus[0])] * 2)
    for x in relus:
        on = (x > 0).reshape(len(x), -1).astype(jnp.float32)
        # a sum of fewer than 2^24 ones is exact
        total += np.asarray(on @ on.T + (1 - on) @ (1 - on).T)
    return total
