"""Predicts the latency of networks as a sum over their ops, each measured on its own."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from scipy import optimize

from benchmarks.programs import Program
from datafree_nas.spaces import Space
from datafree_nas.spaces.candidates import Candidate, collect
from datafree_nas.spaces.cost import Cost
from datafree_nas.spaces.space import Architecture

CALIBRATION = 10  # networks to which the fixed part and the scale are fitted
_LEAST_SCALE = 0.1  # no device runs more than ten ops of a network at once
Measure = Callable[[Sequence[Program]], list[float]]


def build(
    space: Space, measure: Measure, batch: int, dtype: str, checks: int
) -> tuple[Cost, list[dict[str, Any]]]:
    """Measures all ops and some whole networks.

    The cost of an op is the cost of calling it minus that of calling nothing, times a scale,
    because on several cores a device runs ops of a network at once. The scale and `fixed`, the cost
    of a network outside of its ops, are fitted to a few random networks. Predictions are checked on
    others.

    Args:
        space: search space of the networks.
        measure: function that returns the cost of a call of each program, e.g. in milliseconds.
        batch: number of images of a call.
        dtype: type of weights and images.
        checks: number of networks to check.

    Returns:
        The cost, and for every checked network `architecture`, `macs`, `measured`, `predicted`.
    """
    program = partial(_program, batch=batch, dtype=dtype)
    candidates = collect(space)
    distinct = list(dict.fromkeys((each.module, each.shape) for each in candidates))
    networks = _random(space, CALIBRATION + checks)
    nothing = Program(lambda x: x, (jax.ShapeDtypeStruct((batch,), dtype),))
    programs = [nothing, *(program(module, shape) for module, shape in distinct)]
    programs += [program(space.network(each), space.image_size, whole=True) for each in networks]

    empty, *costs = measure(programs)
    alone = [max(0.0, cost - empty) for cost in costs[: len(distinct)]]
    ops = Cost(0.0, _table(space, candidates, dict(zip(distinct, alone, strict=True))))
    whole = list(zip(networks, costs[len(distinct) :], strict=True))
    cost = _calibrated(space, ops, whole[:CALIBRATION])
    rows = [
        {
            "architecture": space.encode(each),
            "macs": space.macs(each),
            "measured": measured,
            "predicted": space.latency(each, cost),
        }
        for each, measured in whole[CALIBRATION:]
    ]
    return cost, rows


def _calibrated(space: Space, ops: Cost, whole: list[tuple[Architecture, float]]) -> Cost:
    """Fits the cost outside of the ops, and the scale of the ops, some of which run at once.

    The fit is `fixed + scale · Σ ops` with the least squared relative error. Noise alone could make
    `fixed` negative or the scale 0, which is prevented.
    """
    measured = np.array([each for _, each in whole])
    sums = np.array([space.latency(architecture, ops) for architecture, _ in whole])
    relative = np.stack([np.ones(len(whole)), sums], axis=1) / measured[:, None]
    bounds = ([0, _LEAST_SCALE], [np.inf, np.inf])
    fixed, scale = optimize.lsq_linear(relative, np.ones(len(whole)), bounds).x
    return Cost(float(fixed), scale * ops.table)


def _program(
    module: nn.Module, shape: tuple[int, ...], batch: int, dtype: str, whole: bool = False
) -> Program:
    """Builds a program that applies an op or a network in eval mode."""
    image = jax.ShapeDtypeStruct((batch, *shape), dtype)
    variables = jax.eval_shape(partial(module.init, train=False), jax.random.key(0), image)
    cast = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), variables)
    return Program(partial(module.apply, train=False), (cast, image), whole)


def _table(
    space: Space, candidates: Sequence[Candidate], costs: dict[Any, float]
) -> np.ndarray[Any, Any]:
    table = np.zeros(space.has.shape)
    for each in candidates:
        table[each.position, each.op] += costs[each.module, each.shape]
    return table


def _random(space: Space, count: int) -> list[Architecture]:
    """Draws different architectures, the same in every run, in which the image reaches the head."""
    drawn = map(space.sample, jax.random.split(jax.random.key(0), 100 * count))
    found: dict[str, Architecture] = {}
    while len(found) < count:
        architecture = np.asarray(next(drawn))
        if space.connected(architecture):
            found[space.encode(architecture)] = architecture
    return list(found.values())
