"""Zero-cost proxies: what an architecture promises before any training, with no data.

A proxy is called as `proxy(space, architecture, key)` and returns named numbers, larger is better:
one, or the several parts of AZ-NAS. `scores` ranks architectures by them. The networks are the
space's own, at the size of `Space.network`. They run operation by operation: a program of each
would take XLA some ten seconds, but their operations are soon all compiled. An architecture of
NAS-Bench-201 takes two cores 0.7 s (synflow) to 2 s (az_nas).
"""

from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from benchmarks.proxies import az_nas, naswot, synflow, zen
from datafree_nas.spaces.space import Architecture, Space

Proxy = Callable[[Space, Architecture, jax.Array], dict[str, float]]


def params(space: Space, architecture: Architecture, _key: jax.Array) -> dict[str, float]:
    """Trainable weights."""
    return {"params": space.params(architecture)}


def macs(space: Space, architecture: Architecture, _key: jax.Array) -> dict[str, float]:
    """Multiply-accumulates of one image."""
    return {"macs": space.macs(architecture)}


PROXIES: dict[str, Proxy] = {
    "params": params,
    "macs": macs,
    "synflow": synflow.proxy,
    "naswot": naswot.proxy,
    "zen": zen.proxy,
    "az_nas": az_nas.proxy,
}


def scores(found: Sequence[Mapping[str, float]]) -> Float[np.ndarray, "architectures"]:
    """Ranks architectures among each other: `Σ log(rank / m)` over the parts of the proxy, where
    ranks of the m architectures go from 1, the worst (Lee & Ham 2024, as in their release).

    An architecture that is among the worst by one part is so by the sum, however good its others.
    Of a proxy with one part the order is that part's.

    Args:
        found: of every architecture what the same proxy returned.

    Returns:
        At most 0; larger is better.
    """
    parts = [rankdata([numbers[name] for numbers in found]) for name in found[0]]
    return np.sum(np.log(np.array(parts) / len(found)), axis=0)
