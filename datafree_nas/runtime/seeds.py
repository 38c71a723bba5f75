"""Random keys by name, so that adding a consumer moves nobody else's numbers."""

import zlib

import jax
import numpy as np


def key_for(seed: int, *path: str | int) -> jax.Array:
    """The key of one use, e.g. `key_for(0, "synthesize", round, batch)`.

    Args:
        seed: the run's seed.
        path: names (hashed with CRC-32) and indices, folded in one after another.
    """
    key = jax.random.key(seed)
    for part in path:
        number = zlib.crc32(part.encode()) if isinstance(part, str) else part
        key = jax.random.fold_in(key, number)
    return key


def numpy_generator(key: jax.Array) -> np.random.Generator:
    """A NumPy generator for decisions taken on the host, determined by a JAX key."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))
