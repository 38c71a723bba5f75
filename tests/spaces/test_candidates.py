"""What is collected of a supernet is what its networks are made of; nothing is computed."""

import collections
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import latency_model
from datafree_nas import spaces
from datafree_nas.runtime import costs, lowering, precision
from datafree_nas.spaces import candidates, ops
from datafree_nas.spaces.darts_network import EDGES
from tests.tiers import full

SPACES = {
    "nasbench201": {"channels": 4, "cells": 2},
    "nasbench_macro": {"channels": 4},
    "shufflenet": {"channels": (4, 8, 16, 32), "repeats": (2, 1), "stem_stride": 1},
    "proxyless": {"width": 0.1, "stem_stride": 1, "cells": (2, 1, 1, 1, 1, 1)},
    "darts": {"channels": 4, "cells": 3, "network_channels": 6, "network_cells": 4},
}
# at every position, of all cells
PLACES = {"nasbench201": 3 * 2, "nasbench_macro": 1, "shufflenet": 1, "proxyless": 1, "darts": 2}


@pytest.fixture(params=["nasbench201", *full("shufflenet", "nasbench_macro", "proxyless", "darts")])
def space(request):
    return spaces.create_space(
        request.param, num_classes=7, image_size=(12, 8, 2), **SPACES[request.param]
    )


def test_every_op_is_collected_once_a_place(space):
    found = collections.Counter((each.position, each.op) for each in candidates.collect(space))
    assert found.keys() == set(zip(*np.nonzero(space.has), strict=True))
    assert set(found.values()) == {PLACES[space.name]}


def _live_macs(program):
    """Of a program without what does not reach its results."""
    with lowering.plain():
        closed = jax.make_jaxpr(program.function)(*program.arguments)
    live, used = jax.interpreters.partial_eval.dce_jaxpr(closed.jaxpr, [True])
    inputs = [v for v, wanted in zip(closed.in_avals, used, strict=True) if wanted]
    return costs.macs(functools.partial(jax.core.eval_jaxpr, live, closed.consts), *inputs)


def test_costs_add_up(space):
    """If a call takes as long as it has MACs, the table is that of MACs, of every op and place."""
    cost, checks = latency_model.build(
        space, lambda programs: list(map(_live_macs, programs)), 1, "float32", 2
    )
    assert cost.fixed == pytest.approx(space.macs_cost.fixed, rel=1e-6)
    np.testing.assert_allclose(cost.table, space.macs_cost.table, rtol=1e-6)
    for row in checks:
        assert row["predicted"] == pytest.approx(row["measured"], rel=1e-6)
        assert row["measured"] <= row["macs"]
        left = space.without_unused(space.decode(row["architecture"]))
        assert row["measured"] == space.macs(left)


@pytest.mark.full
def test_an_empty_call_is_taken_off_and_nothing_gets_negative():
    space = spaces.create_space("nasbench_macro", image_size=(8, 8, 1), channels=4)

    def measure(programs):
        return [3.0, *(5.0 if "Network" in str(p.function) else 2.0 for p in programs[1:])]

    cost, checks = latency_model.build(space, measure, 1, "float32", 2)
    assert (cost.fixed, np.max(cost.table)) == (pytest.approx(5), 0)
    assert [row["predicted"] for row in checks] == [pytest.approx(5)] * 2


@pytest.mark.full
def test_what_runs_at_once_is_scaled():
    space = spaces.create_space("nasbench_macro", image_size=(8, 8, 1), channels=4)

    def measure(programs):
        networks = ["Network" in str(p.function) for p in programs]
        macs = map(_live_macs, programs)
        return [1000 + m / 2 if whole else m for m, whole in zip(macs, networks, strict=True)]

    cost, checks = latency_model.build(space, measure, 1, "float32", 2)
    np.testing.assert_allclose(cost.table, space.macs_cost.table / 2, rtol=1e-6)
    for row in checks:
        assert row["predicted"] == pytest.approx(row["measured"], rel=1e-6)


class _Named(ops.Paths):
    """Gates that say which position they are of."""

    def __init__(self, positions):
        object.__setattr__(self, "positions", positions)

    def __getitem__(self, position):
        return _Named(self.positions[position])


def test_a_position_is_that_of_its_gate(space):
    found = []

    def remember(call, args, kwargs, context):
        if isinstance(context.module, ops.Mixed) and context.method_name == "__call__":
            found.append((context.module.position, args[1].positions))
        return call(*args, **kwargs)

    image = jax.ShapeDtypeStruct((1, *space.image_size), jnp.float32)
    gates = _Named(np.arange(space.positions))
    with nn.intercept_methods(remember):
        jax.eval_shape(lambda x: space.supernet().init(jax.random.key(0), x, gates), image)
    assert {position for position, _ in found} == set(range(space.positions))
    assert all(position == of_gate for position, of_gate in found)


def test_darts_is_measured_at_the_size_of_its_networks():
    space = spaces.create_space("darts", image_size=(8, 8, 1), **SPACES["darts"])
    found = candidates.collect(space)
    assert len(found) == 4 * len(EDGES) * len(space.ops)
    assert {each.shape[-1] for each in found} == {6, 12, 24}


@pytest.mark.parametrize("kind", ["one op", "mixture"])
def test_a_supernet_computes_in_the_type_of_its_input(space, kind):
    supernet, one = space.supernet(), jnp.zeros(space.positions, jnp.int32)
    gates = one if kind == "one op" else jnp.ones((space.positions, len(space.ops)))
    image = jax.ShapeDtypeStruct((2, *space.image_size), jnp.bfloat16)
    variables = jax.eval_shape(supernet.init, jax.random.key(0), image, one)

    def run(variables, x):
        half = precision.network_in("bfloat16", variables)
        return supernet.apply(half, x, gates, train=True, mutable=["batch_stats"])

    with nn.intercept_methods(_check_type):
        logits, new = jax.eval_shape(run, variables, image)
    assert logits.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(new)} <= {jnp.dtype("float32")}


def _check_type(call, args, kwargs, context):
    if isinstance(context.module, ops.Mixed) and context.method_name == "__call__":
        assert args[0].dtype == jnp.bfloat16
    return call(*args, **kwargs)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_network_computes_in_the_type_of_its_input(space, dtype):
    network = space.network(np.asarray(space.sample(jax.random.key(1))))
    program = latency_model._program(network, space.image_size, 2, dtype)
    assert jax.eval_shape(program.function, *program.arguments).dtype == dtype
