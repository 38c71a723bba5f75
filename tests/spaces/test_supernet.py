"""The NAS-Bench-201 supernet: every way of choosing a path is the same network."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datafree_nas import spaces
from datafree_nas.runtime import lowering
from datafree_nas.spaces import ops
from datafree_nas.spaces.nasbench201 import OPS, _candidate

SPACE = spaces.create_space("nasbench201", image_size=(8, 8, 2), channels=4, cells=1)
SUPERNET = SPACE.supernet()
X = jax.random.normal(jax.random.key(0), (6, 8, 8, 2))
CELLS = np.array([[3, 2, 4, 1, 3, 2], [0, 3, 1, 4, 2, 3], [2, 0, 3, 3, 0, 4]], np.int32)


@pytest.fixture(scope="module")
def variables(random_variables):
    return random_variables(SUPERNET, X, jnp.zeros(6, jnp.int32))


def _train(variables, gates):
    return SUPERNET.apply(variables, X, gates, train=True, mutable=["batch_stats"])


def _one_hot(cell):
    return jax.nn.one_hot(cell, len(OPS))


@pytest.fixture(scope="module")
def by_index():
    return jax.jit(lambda variables, gates: _train(variables, gates))


@pytest.fixture(scope="module")
def by_weights():
    return jax.jit(lambda variables, gates: _train(variables, gates))


@pytest.mark.parametrize("cell", CELLS, ids=SPACE.encode)
def test_an_index_is_a_weight_of_one(cell, variables, by_index, by_weights):
    chosen, chosen_stats = by_index(variables, cell)
    weighted, weighted_stats = by_weights(variables, _one_hot(cell))
    np.testing.assert_allclose(chosen, weighted, rtol=1e-4, atol=1e-4)
    # the chosen candidates have seen the same batch, and the others of the path have seen nothing
    for name, edge in chosen_stats["batch_stats"].items():
        for op, stats in edge.items():
            if "edge" not in name or op == OPS[cell[int(name[-1])]]:
                expected = weighted_stats["batch_stats"][name][op]
            else:
                expected = variables["batch_stats"][name][op]
            for a, b in zip(jax.tree.leaves(stats), jax.tree.leaves(expected), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_all_gates_share_one_program(variables, by_index, by_weights):
    generator = np.random.default_rng(0)
    for _ in range(10):
        by_index(variables, generator.integers(len(OPS), size=6).astype(np.int32))
    for _ in range(3):
        by_weights(variables, jnp.asarray(generator.random((6, 5), np.float32)))
    assert by_index._cache_size() == by_weights._cache_size() == 1


@pytest.fixture(scope="module")
def edge(random_variables):
    """Loss and gradients of one edge, by weights and by index in both lowerings."""
    module, x = (
        ops.Mixed(OPS, partial(_candidate, in_supernet=True), 0),
        jax.random.normal(jax.random.key(2), (3, 4, 4, 2)),
    )
    variables = random_variables(module, x, jnp.zeros((), jnp.int32), train=True)

    def loss(params, gate, x):
        both = {**variables, "params": params}
        return jnp.sum(jnp.sin(module.apply(both, x, gate, True, mutable=["batch_stats"])[0]))

    def compiled(gate, in_switch):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lowering, "canonical_in_switch", lambda: in_switch)
            program = jax.jit(jax.value_and_grad(lambda *a: loss(*a), argnums=(0, 2)))
            lowered = program.lower(variables["params"], gate, x).compile()
        return lambda gate: lowered(variables["params"], gate, x)

    index = jnp.zeros((), jnp.int32)
    return compiled(jnp.zeros(len(OPS)), False), compiled(index, False), compiled(index, True)


@pytest.mark.parametrize("op", range(len(OPS)), ids=OPS)
def test_an_edge_has_the_same_gradients_in_every_lowering(op, edge):
    by_weights, by_conv, by_canonical = edge
    expected = by_weights(jax.nn.one_hot(op, len(OPS)))
    for program in (by_conv, by_canonical):
        found = program(jnp.asarray(op, jnp.int32))
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
        _, (of_params, _) = found
        for name, gradient in of_params.items():
            assert np.any(gradient["conv"]["kernel"]) == (name == OPS[op])


def _alone(variables, cell):
    """The variables of a network of its own with the weights of a path of the supernet."""
    network = SPACE.network(cell)
    abstract = jax.eval_shape(network.init, jax.random.key(0), X)
    alone = {"params": {}, "batch_stats": {}}
    for collection in alone:
        for name, inner in abstract[collection].items():
            taken = variables[collection][name]
            alone[collection][name] = taken[OPS[cell[int(name[-1])]]] if "edge" in name else taken
            if "edge" in name and collection == "params":  # affine instead of biased
                norm = {"scale": jnp.ones, "bias": jnp.zeros}
                size = inner["bn"]["norm"]["scale"].shape
                kernel = {"kernel": alone[collection][name]["conv"]["kernel"]}
                bn = {"norm": {leaf: make(size) for leaf, make in norm.items()}}
                alone[collection][name] = {"conv": kernel, "bn": bn}
    return network, alone


@pytest.mark.parametrize("cell", CELLS[:1], ids=SPACE.encode)
def test_a_path_is_the_network_on_its_own(cell, variables, by_index):
    network, alone = _alone(variables, cell)
    logits, _ = jax.jit(lambda v: network.apply(v, X, train=True, mutable=["batch_stats"]))(alone)
    # in train mode the bias of a convolution vanishes in the BatchNorm after it
    np.testing.assert_allclose(logits, by_index(variables, cell)[0], rtol=1e-3, atol=1e-3)


@pytest.mark.full
def test_batch_stats_are_those_of_the_last_batch(variables, by_weights):
    inputs = {}

    def remember(call, args, kwargs, context):
        if isinstance(context.module, nn.BatchNorm):
            inputs[context.module.path] = args[0]
        return call(*args, **kwargs)

    gates = jax.nn.softmax(jax.random.normal(jax.random.key(1), (6, 5)))
    stats = by_weights(variables, gates)[1]["batch_stats"]

    def listen(variables):
        with nn.intercept_methods(remember):
            _train(variables, gates)
        return {"/".join(path): x for path, x in inputs.items()}

    for path, x in jax.jit(listen)(variables).items():
        found = stats
        for name in path.split("/"):
            found = found[name]
        rows = x.reshape(-1, x.shape[-1])
        np.testing.assert_allclose(found["mean"], jnp.mean(rows, 0), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(found["var"], jnp.var(rows, 0), rtol=1e-3, atol=1e-4)
    assert len(inputs) == len(jax.tree.leaves(stats)) // 2 == 3 * 6 * 2 + 2 * 2 + 2


@pytest.mark.full
def test_evaluation_uses_them(variables, by_index):
    cell = CELLS[0]
    trained, stats = by_index(variables, cell)
    evaluated = jax.jit(SUPERNET.apply)({**variables, **stats}, X, cell)
    np.testing.assert_allclose(evaluated, trained, rtol=1e-3, atol=1e-3)
