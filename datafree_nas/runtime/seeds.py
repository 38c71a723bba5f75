"""Random keys by name, so that a new use of random numbers does not change those of other uses."""

import zlib

import jax
import numpy as np


def key_for(seed: int, *path: str | int) -> jax.Array:
    """Returns the random key of one use, e.g. `key_for(0, "synthesize", round, batch)`.

    Args:
        seed: seed of the run.
        path: names (hashed with CRC-32) and indices, folded in one after another.
    """
    key = jax.random.key(seed)
    for part in path:
        number = zlib.crc32(part.encode()) if isinstance(part, str) else part
        key = jax.random.fold_in(key, number)
    return key


def seed_for(seed: int, name: str) -> int:
    """Returns another seed, for all random numbers of one part of a run.

    Args:
        seed: seed of the run.
        name: name of the part.
    """
    return int(numpy_generator(key_for(seed, name)).integers(1 << 31))


def numpy_generator(key: jax.Array) -> np.random.Generator:
    """Makes a NumPy generator out of a JAX key, for random decisions on the host."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))
