"""The evolution of SPOS: which architectures are scored next. Pure functions on NumPy arrays."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int

from datafree_nas.runtime.config import Config
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.values import SHARE, Values, integer
from datafree_nas.search import front, limits
from datafree_nas.spaces.space import Architecture

# values of the fields of `config.search.evolution`
FIELDS: dict[str, Values] = {
    "population": integer(1, 10**5),
    "generations": integer(1, 10**5),
    "parents": integer(1, 10**5),
    "mutations": integer(0, 10**5),
    "crossovers": integer(0, 10**5),
    "mutation_probability": SHARE,
    **limits.FIELDS,
}
Population = Int[np.ndarray, "n choices"]


def propose(
    generator: np.random.Generator,
    seen: Population,
    scores: Float[np.ndarray, "n"],
    choices: Sequence[int],
    allowed: Callable[[Architecture], bool],
    config: Config,
    breed: bool = True,
    costs: Float[np.ndarray, "n"] | None = None,
) -> Int[np.ndarray, "m choices"]:
    """Draws the next generation: mutations and crossovers of the best, filled up at random.

    Args:
        generator: random generator of this generation.
        seen: every architecture scored before, one a row; no rows in the first generation.
        scores: score of each row of `seen`, higher is better.
        choices: number of options of each choice of an architecture.
        allowed: test whether an architecture may be proposed.
        config: block `config.search.evolution`; `population`, `parents`, `mutations`,
            `crossovers` and `mutation_probability` are read.
        breed: whether there are mutations and crossovers; False is random search.
        costs: cost of each row of `seen`, if parents are the best ones in score and cost at once,
            by NSGA-II; None if they are those with the best scores.

    Returns:
        At most `population` new architectures that are allowed; none is in `seen`.

    Raises:
        UserError: no architecture is allowed.
    """
    options, count = np.asarray(choices), len(choices)
    known = {tuple(a) for a in seen}
    children: list[Architecture] = []
    best = np.argsort(-scores, kind="stable") if costs is None else front.order(scores, costs)
    parents = seen[best[: config.parents]]

    def add(wanted: int, born: Callable[[], Architecture]) -> None:
        target = min(len(children) + wanted, config.population)
        for _ in range(limits.TRIES * max(wanted, 0)):
            if len(children) == target:
                return
            child = born()
            if tuple(child) not in known and allowed(child):
                known.add(tuple(child))
                children.append(child)

    def mutant() -> Architecture:
        parent = parents[generator.integers(len(parents))]
        changed = generator.random(count) < config.mutation_probability
        return np.where(changed, generator.integers(options), parent)

    def crossed() -> Architecture:
        one, other = parents[generator.integers(len(parents), size=2)]
        return np.where(generator.random(count) < 0.5, one, other)

    def stranger() -> Architecture:
        return np.asarray(generator.integers(options))

    if len(parents) and breed:
        add(config.mutations, mutant)
        add(config.crossovers, crossed)
    add(config.population - len(children), stranger)
    if not children and not len(seen):
        raise UserError(
            "no architecture of the space keeps the limits of config.search.evolution; raise "
            "max_macs, max_params, max_memory or max_latency"
        )
    return np.array(children, np.int32).reshape(-1, count)
