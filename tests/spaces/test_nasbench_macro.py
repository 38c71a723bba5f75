"""The space of NAS-Bench-Macro, against its table and against plain PyTorch."""

import itertools
import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

from datafree_nas.interop.torch_names import state_dict
from datafree_nas.runtime import costs, lowering
from datafree_nas.runtime.errors import UserError
from datafree_nas.spaces import mbconv
from datafree_nas.spaces.mbconv import BlockSpec
from datafree_nas.spaces.nasbench_macro import OPS, NasBenchMacro, _Layer
from tests.tiers import full

SPACE = NasBenchMacro()  # as published
SMALL = NasBenchMacro(num_classes=7, image_size=(16, 16, 2), channels=4)
ODD = NasBenchMacro(num_classes=3, image_size=(13, 21, 1), channels=6)
ALL = [np.array(a, np.int32) for a in itertools.product(range(len(OPS)), repeat=8)]


def _random(space, count):
    keys = jax.random.split(jax.random.key(0), count)
    return np.asarray(jax.vmap(space.sample)(keys))


def _measured(space, architecture):
    """Weights and MACs of the real network, from its traced program."""
    network = space.network(architecture)
    image = jax.ShapeDtypeStruct((1, *space.image_size), jnp.float32)
    with lowering.plain():  # sooner traced
        variables = jax.eval_shape(network.init, jax.random.key(0), image)
    params = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    return params, costs.macs(network.apply, variables, image)


@pytest.mark.parametrize(
    ("text", "params", "macs"),
    [
        ("22222222", 2_932_586, 105_660_928),
        ("11111111", 1_588_874, 53_246_464),
        ("00000000", 387_882, 7_713_280),
    ],
)
def test_uniform_networks(text, params, macs):
    architecture = SPACE.decode(text)
    assert (SPACE.params(architecture), SPACE.macs(architecture)) == (params, macs)
    assert _measured(SPACE, architecture) == (params, macs)


@pytest.mark.full
def test_closed_forms_are_those_of_the_network():
    for architecture in _random(ODD, 6):
        expected = ODD.params(architecture), ODD.macs(architecture)
        assert expected == _measured(ODD, architecture)


@pytest.mark.full
@pytest.mark.skipif(
    "DATAFREE_NAS_DATA" not in os.environ, reason="DATAFREE_NAS_DATA names no folder of real data"
)
def test_all_networks_of_the_benchmark():
    path = Path(os.environ["DATAFREE_NAS_DATA"]) / "nas_tables" / "nas_bench_macro_cifar10.json"
    table = json.loads(path.read_text())
    assert table.keys() == {SPACE.encode(architecture) for architecture in ALL}
    for text, row in table.items():
        architecture = SPACE.decode(text)
        found = SPACE.params(architecture), SPACE.macs(architecture)
        assert found == (row["params"], row["flops"]), text
        assert row == table[SPACE.encode(SPACE.canonical(architecture))], text


def test_there_are_3969_different_networks():
    assert len({SPACE.encode(SPACE.canonical(architecture)) for architecture in ALL}) == 3969
    for architecture in ALL[::50]:
        same = SPACE.canonical(architecture)
        np.testing.assert_array_equal(SPACE.canonical(same), same)
        assert SPACE.params(same) == SPACE.params(architecture)
        assert SPACE.macs(same) == SPACE.macs(architecture)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [("22212202", "22212220"), ("00001001", "00010010"), ("10012012", "10012012")],
)
def test_canonical(text, canonical):
    assert SPACE.encode(SPACE.canonical(SPACE.decode(text))) == canonical


@pytest.mark.full
def test_the_canonical_network_computes_the_same(random_variables):
    x = jax.random.normal(jax.random.key(0), (2, 16, 16, 2))
    architecture = SMALL.decode("21102201")
    network, moved = SMALL.network(architecture), {"layer4": "layer3", "layer7": "layer6"}
    variables = random_variables(network, x)
    renamed = {
        collection: {moved.get(name, name): inner for name, inner in tree.items()}
        for collection, tree in variables.items()
    }
    same = SMALL.network(SMALL.canonical(architecture))
    expected = jax.jit(network.apply)(variables, x)
    np.testing.assert_allclose(jax.jit(same.apply)(renamed, x), expected, rtol=1e-5, atol=1e-5)


def test_text_of_random_architectures():
    drawn = _random(SPACE, 100)
    assert np.all((drawn >= 0) & (drawn < SPACE.choices))
    for architecture in drawn:
        np.testing.assert_array_equal(SPACE.decode(SPACE.encode(architecture)), architecture)
    assert SPACE.encode(np.array([2, 2, 2, 1, 2, 2, 0, 2], np.int32)) == "22212202"


@pytest.mark.parametrize(
    "text", ["", "nonsense", "2221220", "222122021", "22212203", "[22212202]", "-22212202"]
)
def test_text_that_is_no_network(text):
    with pytest.raises(UserError, match=r"is no architecture of nasbench_macro: .*01201201"):
        SPACE.decode(text)


@pytest.mark.parametrize(
    "spelling",
    [" 22212202\n", "[2, 2, 2, 1, 2, 2, 0, 2]", "2 2 2 1 2 2 0 2", [2, 2, 2, 1, 2, 2, 0, 2]],
    ids=str,
)
def test_other_spellings(spelling):
    assert SPACE.encode(SPACE.decode(spelling)) == "22212202"


def test_graph():
    graph = SPACE.graph(SPACE.decode("22212202"))
    assert len(graph["nodes"]) == 9
    assert graph["edges"][0] == [0, 1, "mb6_k5"]
    assert graph["edges"][6] == [6, 7, "identity"]


# ---------------------------------------------------------------------------------------- PyTorch


class Identity(nn.Module):
    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.downsample = nn.Identity()
        if stride == 2:
            conv = nn.Conv2d(c_in, c_out, 1, 2, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(c_out))

    def forward(self, x):
        return self.downsample(x)


class Residual(nn.Module):
    def __init__(self, c_in, c_out, stride, expansion, kernel):
        super().__init__()
        c = c_in * expansion
        depthwise = nn.Conv2d(c, c, kernel, stride, kernel // 2, groups=c, bias=False)
        self.conv = nn.Sequential(
            *(nn.Conv2d(c_in, c, 1, bias=False), nn.BatchNorm2d(c), nn.ReLU()),
            *(depthwise, nn.BatchNorm2d(c), nn.ReLU()),
            *(nn.Conv2d(c, c_out, 1, bias=False), nn.BatchNorm2d(c_out)),
        )
        self.shortcut = stride == 1

    def forward(self, x):
        return x + self.conv(x) if self.shortcut else self.conv(x)


def _layer(op, *place):
    return Identity(*place) if op == 0 else Residual(*place, *((3, 3), (6, 5))[op - 1])


class MacroNetwork(nn.Module):
    """`SMALL`."""

    def __init__(self, architecture):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU()
        )
        places = [(4, 8, 2), (8, 8, 1), (8, 16, 2), *[(16, 16, 1)] * 2]
        places += [(16, 32, 2), *[(32, 32, 1)] * 2]
        self.features = nn.Sequential(
            *(_layer(op, *place) for op, place in zip(architecture, places, strict=True))
        )
        self.out = nn.Sequential(
            nn.Conv2d(32, 1280, 1, bias=False), nn.BatchNorm2d(1280), nn.ReLU()
        )
        self.classifier = nn.Linear(1280, 7)

    def forward(self, x):
        return self.classifier(self.out(self.features(self.stem(x))).mean((2, 3)))


def _close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def _to_torch(x):
    return torch.from_numpy(np.asarray(x).transpose(0, 3, 1, 2).copy())


def _of_layer(variables):
    names = state_dict(variables, lambda module: SPACE.torch_name(f"layer0.{module}"))
    return {key.removeprefix("features.0."): torch.tensor(v) for key, v in names.items()}


@pytest.mark.parametrize("place", [BlockSpec(4, 4, 1, (6, 7)), BlockSpec(3, 6, 2, (7, 6))], ids=str)
@pytest.mark.parametrize("op", range(len(OPS)), ids=OPS)
def test_a_layer_and_its_gradients_in_pytorch(op, place, random_variables):
    layer = _Layer(place, OPS[op], in_supernet=False)
    generator = np.random.default_rng(0)
    x = jnp.asarray(generator.normal(0, 9, (2, *place.size, place.inputs)), jnp.float32)
    variables = random_variables(layer, x, train=False)

    @jax.jit
    def both(params, x, cotangent):
        y, pull = jax.vjp(lambda p, x: layer.apply({**variables, "params": p}, x, False), params, x)
        return y, *pull(cotangent)

    shape_out = (2, *mbconv.smaller(place.size, place.stride), place.features)
    cotangent = jnp.asarray(generator.normal(size=shape_out), jnp.float32)
    with lowering.plain():  # sooner compiled; the other lowering has its own tests
        y, of_params, of_x = both(variables.get("params", {}), x, cotangent)

    model = _layer(op, place.inputs, place.features, place.stride).eval()
    model.load_state_dict(_of_layer(variables))
    image = _to_torch(x).requires_grad_()
    expected = model(image)
    expected.backward(_to_torch(cotangent))
    _close(_to_torch(y), expected.detach().numpy())
    _close(_to_torch(of_x), image.grad.numpy())
    found = _of_layer({"params": of_params})
    assert found.keys() == dict(model.named_parameters()).keys()
    for key, parameter in model.named_parameters():
        _close(found[key], parameter.grad.numpy())


@pytest.mark.parametrize("text", ["01102202", *full("20021120")])
def test_a_network_in_pytorch(text, random_variables):
    architecture = SMALL.decode(text)
    network = SMALL.network(architecture)
    x = np.random.default_rng(0).normal(size=(3, 16, 16, 2)).astype(np.float32)
    variables = random_variables(network, jnp.asarray(x))
    model = MacroNetwork(architecture).eval()
    state = {k: torch.tensor(v) for k, v in state_dict(variables, SMALL.torch_name).items()}
    model.load_state_dict(state)
    with torch.no_grad():
        expected = model(_to_torch(x)).numpy()
    _close(jax.jit(network.apply)(variables, x), expected)


# --------------------------------------------------------------------------------------- supernet

X = jax.random.normal(jax.random.key(0), (6, 16, 16, 2))
PATHS = [SMALL.decode(text) for text in ("01102202", "20021120", "12210011")]


@pytest.fixture(scope="module")
def variables(random_variables):
    return random_variables(SMALL.supernet(), X, jnp.zeros(8, jnp.int32))


@pytest.fixture(scope="module")
def train():
    """By index, and by weights: two programs.

    Depthwise convolutions are left as such, which compiles sooner; their own tests compare both.
    """
    supernet = SMALL.supernet()

    def apply(variables, gates):
        return supernet.apply(variables, X, gates, train=True, mutable=["batch_stats"])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lowering, "depthwise", lambda channels, in_switch: "grouped")
        yield jax.jit(lambda *a: apply(*a)), jax.jit(lambda *a: apply(*a))


@pytest.mark.full
def test_an_index_is_a_weight_of_one_in_one_program(variables, train):
    by_index, by_weights = train
    for path in PATHS:
        expected, _ = by_weights(variables, jax.nn.one_hot(path, len(OPS)))
        found, _ = by_index(variables, path)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    assert by_index._cache_size() == by_weights._cache_size() == 1


@pytest.mark.full
@pytest.mark.parametrize("path", PATHS, ids=SMALL.encode)
def test_a_path_is_the_network_on_its_own(path, variables, train):
    network = SMALL.network(path)
    abstract = jax.eval_shape(network.init, jax.random.key(0), X)
    op = {f"layer{i}": OPS[chosen] for i, chosen in enumerate(path)}

    def of_path(collection, tree):
        names = abstract[collection]
        return {name: tree[name][op[name]] if name in op else tree[name] for name in names}

    alone = {collection: of_path(collection, tree) for collection, tree in variables.items()}
    found, new = jax.jit(lambda v: network.apply(v, X, train=True, mutable=["batch_stats"]))(alone)
    expected, stats = train[0](variables, path)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    # the supernet has this batch's statistics, the network an average over time
    batch = of_path("batch_stats", stats["batch_stats"])
    average = jax.tree.map(lambda old, b: 0.9 * old + 0.1 * b, alone["batch_stats"], batch)
    for a, b in zip(jax.tree.leaves(new["batch_stats"]), jax.tree.leaves(average), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)
