"""Samples the path of a supernet that a step trains."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from datafree_nas.runtime.config import Config
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.values import Values, list_of, number, one_of
from datafree_nas.spaces.space import Space

SAMPLINGS = ("uniform", "binned", "fair")
# values of the fields of `config.search.spos`
FIELDS: dict[str, Values] = {
    "sampling": one_of(SAMPLINGS),
    "bins": list_of(number(0, 1e18), (3,), "(lowest MACs, highest MACs, number of bins)").or_empty(
        "none"
    ),
}
_TRIES = 500  # architectures that may miss a bin, as in the release
# (key of the run, step) -> architecture
PathSampler = Callable[[Key[Array, ""], Int[Array, ""]], Int[Array, "choices"]]


def make_path_sampler(space: Space, config: Config) -> PathSampler:
    """Builds the sampling that a config names.

    Args:
        space: search space.
        config: block `config.search.spos`. `sampling` is `uniform` over all architectures;
            `binned`, as in the release, uniform over bins of MACs and uniform within a bin; or
            `fair` (Chu et al. 2021): in every `round_length` steps each option of a choice is taken
            equally often.

    Raises:
        UserError: the bins make no sense, or hold no architecture.
    """
    samplings = {"uniform": lambda: _uniform(space), "fair": lambda: _fair(space)}
    samplings["binned"] = lambda: _binned(space, config)
    return samplings[config.sampling]()


def round_length(space: Space, config: Config) -> int:
    """Returns the number of steps whose gradients are added up for one update of the weights.

    It is 1 unless sampling is fair.
    """
    return max(space.choices) if config.sampling == "fair" else 1


def _uniform(space: Space) -> PathSampler:
    return lambda key, step: space.sample(jax.random.fold_in(key, step))


def _fair(space: Space) -> PathSampler:
    """Permutes the options of every choice; a choice with fewer options repeats some of them."""
    options = jnp.array(space.choices)
    most = max(space.choices)

    def sample(key: Array, step: Array) -> Array:
        keys = jax.random.split(jax.random.fold_in(key, step // most), len(space.choices))
        order = jax.vmap(lambda k: jax.random.permutation(k, most))(keys)
        return order[:, step % most] % options

    return sample


def _binned(space: Space, config: Config) -> PathSampler:
    if (
        len(config.bins) != 3
        or not config.bins[0] < config.bins[1]
        or config.bins[2] < 1
        or config.bins[2] % 1
    ):
        raise UserError(
            f"config.search.spos.bins={config.bins!r} must be (lowest MACs, highest MACs, number "
            "of bins)"
        )
    low, high, count = config.bins
    width, cost = (high - low) / count, space.macs_cost
    least, most = cost.bounds(space.has)
    if high <= least or low >= most:
        raise UserError(
            f"config.search.spos.bins={config.bins!r} hold no architecture of {space.name}, whose "
            f"MACs are {least:.4g} to {most:.4g}; set them anew where the space was changed"
        )
    table = jnp.asarray(cost.table, jnp.float32)

    def macs(architecture: Array) -> Array:
        return cost.fixed + jnp.sum(table[np.arange(space.positions), space.gates(architecture)])

    def sample(key: Array, step: Array) -> Array:
        bin_key, tries = jax.random.split(jax.random.fold_in(key, step))
        drawn = jax.vmap(space.sample)(jax.random.split(tries, _TRIES))
        start = low + width * jax.random.randint(bin_key, (), 0, count)
        costs = jax.vmap(macs)(drawn)
        # the first one in the bin, or just the first one
        return drawn[jnp.argmax((start <= costs) & (costs < start + width))]

    return sample
