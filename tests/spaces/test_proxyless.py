"""The space of ProxylessNAS, against its published sizes and against plain PyTorch."""

from collections import OrderedDict

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
from datafree_nas.spaces.proxyless import OPS, Proxyless, _block
from tests.tiers import full

SPACE = Proxyless()  # as published
# so narrow that the first and fourth stages begin with a shortcut: 24 and 80 channels are 8 and 24
SMALL = Proxyless(
    num_classes=7,
    image_size=(8, 8, 2),
    width=0.25,
    stem_stride=1,
    cells=(1, 2, 1, 1, 1, 1),
    strides=(1, 2, 1, 1, 2, 1),
)
ODD = Proxyless(
    num_classes=3,
    image_size=(37, 22, 1),
    width=1.2,  # more than 1: as wide before the head
    cells=(2, 1, 1, 2, 1, 1),
    strides=(2, 1, 2, 2, 1, 1),
)
ZERO = OPS.index("zero")


def _random(space, count, seed=0):
    keys = jax.random.split(jax.random.key(seed), count)
    return np.asarray(jax.vmap(space.sample)(keys))


def _size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def _measured(space, architecture):
    """Weights and MACs of the real network, from its traced program."""
    network = space.network(architecture)
    image = jax.ShapeDtypeStruct((1, *space.image_size), jnp.float32)
    with lowering.plain():  # sooner traced
        variables = jax.eval_shape(network.init, jax.random.key(0), image)
    return _size(variables["params"]), costs.macs(network.apply, variables, image)


@pytest.mark.parametrize(
    ("op", "params", "macs"),
    [
        ("mb3_k3", 3_191_928, 257_422_208),
        ("mb6_k3", 4_684_776, 472_620_800),
        ("mb6_k5", 4_852_200, 526_208_768),
        ("mb6_k7", 5_103_336, 606_590_720),
    ],
)
def test_uniform_networks(op, params, macs):
    architecture = np.full(21, OPS.index(op), np.int32)
    assert (SPACE.params(architecture), SPACE.macs(architecture)) == (params, macs)
    assert _measured(SPACE, architecture) == (params, macs)


def test_the_smallest_network():
    least = np.where(np.array(SPACE.choices) == len(OPS), ZERO, 0).astype(np.int32)
    assert SPACE.macs(least) == _measured(SPACE, least)[1] == 102_528_896


@pytest.mark.full
def test_the_weights_of_the_supernet():
    gates = jax.ShapeDtypeStruct((21,), jnp.int32)
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    with lowering.plain():
        variables = jax.eval_shape(SPACE.supernet().init, jax.random.key(0), image, gates)
    assert _size(variables["params"]) == 16_034_168
    assert SPACE.params_cost.fixed + SPACE.params_cost.table.sum() == 16_034_168


@pytest.mark.parametrize(
    ("width", "stem", "features", "last"),
    [
        (1.0, 32, [24, 40, 80, 96, 192, 320], 1280),
        (0.35, 16, [8, 16, 32, 32, 64, 112], 1280),  # 11.2 is not 8: too few
        (1.4, 48, [32, 56, 112, 136, 272, 448], 1792),
    ],
)
def test_channels_at_other_widths(width, stem, features, last):
    network = Proxyless(width=width).supernet()
    assert network.places[0].inputs == stem
    assert [place.features for place in network.places[1::4]] == features
    assert network.last == last


def test_zero_is_where_the_shortcut_is():
    assert SPACE.choices == (6, 7, 7, 7) * 5 + (6,)
    assert SMALL.choices == (7, 6, 7, 6, 7, 6, 6)
    np.testing.assert_array_equal(SMALL.has[:, ZERO], np.array(SMALL.choices) == 7)


@pytest.mark.parametrize("space", [SMALL, *full(ODD)], ids=["small", "odd"])
def test_closed_forms_are_those_of_the_network(space):
    for architecture in _random(space, 4):
        expected = space.params(architecture), space.macs(architecture)
        assert expected == _measured(space, architecture)


def test_text_of_random_architectures():
    drawn = _random(SPACE, 300)
    assert np.all((drawn >= 0) & (drawn < SPACE.choices))
    for option in range(len(OPS)):
        assert np.all(np.any(drawn == option, axis=0) == (option < np.array(SPACE.choices)))
    for architecture in drawn[:50]:
        np.testing.assert_array_equal(SPACE.decode(SPACE.encode(architecture)), architecture)
    assert len({SPACE.encode(architecture) for architecture in drawn}) == 300


GOOD = "0123-4566-3210-1661-5555-2"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        GOOD[:-1],
        GOOD + "1",
        GOOD.replace("3-4", "34-"),  # the stages are not these
        f"-{GOOD}",
        "7" + GOOD[1:],
        "6" + GOOD[1:],  # no shortcut there
        GOOD[:-1] + "6",
    ],
)
def test_text_that_is_no_architecture(text):
    assert SPACE.encode(SPACE.decode(GOOD)) == GOOD
    with pytest.raises(UserError, match=r"is no architecture of proxyless: .*example: 0123-4560"):
        SPACE.decode(text)


OF_RELEASE = {"mb6_k3": "3x3_MBConv6", "mb3_k7": "7x7_MBConv3", "zero": "Zero"}


@pytest.mark.parametrize(
    "spelling",
    [
        GOOD.replace("-", ""),
        str([int(digit) for digit in GOOD.replace("-", "")]),
        str([OPS[int(digit)] for digit in GOOD.replace("-", "")]),
        [OF_RELEASE.get(OPS[int(d)], OPS[int(d)]) for d in GOOD.replace("-", "")],
    ],
    ids=str,
)
def test_other_spellings(spelling):
    assert SPACE.encode(SPACE.decode(spelling)) == GOOD


def test_settings_for_another_number_of_stages():
    with pytest.raises(UserError, match=r"6 stages; strides=\(2, 2\)"):
        Proxyless(strides=(2, 2))
    with pytest.raises(UserError, match=r"cells=\(4, 4, 4, 4, 0, 1\)"):
        Proxyless(cells=(4, 4, 4, 4, 0, 1))


def test_graph():
    graph = SMALL.graph(np.array([0, 1, 6, 2, 6, 3, 5], np.int32))
    assert graph["nodes"][0] == "input"
    assert graph["nodes"][-1] == "output"
    assert graph["edges"][1:3] == [[1, 2, "mb6_k3"], [2, 3, "zero"]]
    assert len(graph["nodes"]) == len(graph["edges"]) + 1 == 8


# ---------------------------------------------------------------------------------------- PyTorch


def _conv_bn(c_in, c_out, kernel=1, stride=1, groups=1, act=True):
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    layers = [("conv", conv), ("bn", nn.BatchNorm2d(c_out, eps=1e-3))]
    return nn.Sequential(OrderedDict(layers + [("act", nn.ReLU6())] * act))


class MbConv(nn.Module):
    def __init__(self, c_in, c_out, stride, expansion, kernel):
        super().__init__()
        c = c_in * expansion
        self.inverted_bottleneck = _conv_bn(c_in, c) if expansion > 1 else nn.Identity()
        self.depth_conv = _conv_bn(c, c, kernel, stride, groups=c)
        self.point_linear = _conv_bn(c, c_out, act=False)

    def forward(self, x):
        return self.point_linear(self.depth_conv(self.inverted_bottleneck(x)))


class Block(nn.Module):
    def __init__(self, conv, shortcut):
        super().__init__()
        self.mobile_inverted_conv, self.shortcut = conv, shortcut

    def forward(self, x):
        if self.mobile_inverted_conv is None:
            return x
        y = self.mobile_inverted_conv(x)
        return x + y if self.shortcut else y


SHAPES = [(3, 3), (6, 3), (3, 5), (6, 5), (3, 7), (6, 7)]  # expansion and kernel


class ProxylessNets(nn.Module):
    """`SMALL`, with its channels and strides written out."""

    def __init__(self, architecture):
        super().__init__()
        self.first_conv = _conv_bn(2, 8, 3)
        self.blocks = nn.ModuleList([Block(MbConv(8, 8, 1, 1, 3), False)])
        c_in = 8
        widths, strides = [8, 16, 16, 24, 24, 48, 80], [1, 2, 1, 1, 1, 2, 1]
        shortcuts = [True, False, True, False, True, False, False]
        for i, op in enumerate(architecture):
            conv = None if op == ZERO else MbConv(c_in, widths[i], strides[i], *SHAPES[op])
            self.blocks.append(Block(conv, shortcuts[i]))
            c_in = widths[i]
        self.feature_mix_layer = _conv_bn(c_in, 1280)
        self.classifier = nn.Sequential(OrderedDict(linear=nn.Linear(1280, 7)))

    def forward(self, x):
        x = self.first_conv(x)
        for block in self.blocks:
            x = block(x)
        return self.classifier(self.feature_mix_layer(x).mean((2, 3)))


def _close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def _to_torch(x):
    return torch.from_numpy(np.asarray(x).transpose(0, 3, 1, 2).copy())


def _of_block(variables):
    names = state_dict(variables, lambda module: SPACE.torch_name(f"block0.{module}"))
    return {
        key.removeprefix("blocks.0.mobile_inverted_conv."): torch.tensor(v)
        for key, v in names.items()
    }


@pytest.mark.parametrize("place", [BlockSpec(4, 4, 1, (6, 7)), BlockSpec(3, 5, 2, (7, 6))], ids=str)
@pytest.mark.parametrize("shape", [(1, 3), *full(*[(each,) for each in SHAPES])], ids=str)
def test_a_block_and_its_gradients_in_pytorch(shape, place, random_variables):
    block = _block(shape, place, in_supernet=False)
    generator = np.random.default_rng(0)
    x = jnp.asarray(generator.normal(0, 3, (2, *place.size, place.inputs)), jnp.float32)
    variables = random_variables(block, x, train=False)

    @jax.jit
    def both(params, x, cotangent):
        y, pull = jax.vjp(lambda p, x: block.apply({**variables, "params": p}, x, False), params, x)
        return y, *pull(cotangent)

    shape_out = (2, *mbconv.smaller(place.size, place.stride), place.features)
    cotangent = jnp.asarray(generator.normal(size=shape_out), jnp.float32)
    with lowering.plain():  # sooner compiled; the other lowering has its own tests
        y, of_params, of_x = both(variables["params"], x, cotangent)

    model = MbConv(place.inputs, place.features, place.stride, *shape).eval()
    model.load_state_dict(_of_block(variables))
    image = _to_torch(x).requires_grad_()
    expected = model(image)
    expected.backward(_to_torch(cotangent))
    _close(_to_torch(y), expected.detach().numpy())
    _close(_to_torch(of_x), image.grad.numpy())
    found = _of_block({"params": of_params})
    assert found.keys() == dict(model.named_parameters()).keys()
    for key, parameter in model.named_parameters():
        _close(found[key], parameter.grad.numpy())


@pytest.mark.parametrize("text", ["0-16-4-6-5-3", *full("2-46-1-3-0-5")])
def test_a_network_in_pytorch(text, random_variables):
    architecture = SMALL.decode(text)
    network = SMALL.network(architecture)
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 2)).astype(np.float32)
    variables = random_variables(network, jnp.asarray(x))
    model = ProxylessNets(architecture).eval()
    state = {k: torch.tensor(v) for k, v in state_dict(variables, SMALL.torch_name).items()}
    model.load_state_dict(state)
    with torch.no_grad():
        expected = model(_to_torch(x)).numpy()
    _close(jax.jit(network.apply)(variables, x), expected)


# --------------------------------------------------------------------------------------- supernet

X = jax.random.normal(jax.random.key(0), (6, 8, 8, 2))
PATHS = [SMALL.decode(text) for text in ("0-16-4-6-5-3", "2-40-5-1-3-1", "5-36-2-2-4-0")]


@pytest.fixture(scope="module")
def variables(random_variables):
    return random_variables(SMALL.supernet(), X, jnp.zeros(SMALL.positions, jnp.int32))


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
        weights = jax.nn.one_hot(path, len(OPS))
        expected, _ = by_weights(variables, weights)
        found, _ = by_index(variables, path)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    assert by_index._cache_size() == by_weights._cache_size() == 1


@pytest.mark.full
def test_a_weight_of_zero_leaves_the_shortcut(variables, train):
    """Whatever it is multiplied by, nothing is nothing; and what is not there is not heeded."""
    _, by_weights = train
    weights = np.array(jax.nn.one_hot(PATHS[0], len(OPS)))
    expected, _ = by_weights(variables, weights)
    for position in (2, 4):  # zero is chosen
        weights[position, ZERO] = 0.3
    for position in (1, 3, 5, 6):  # zero is not there
        weights[position, ZERO] = 0.7
    np.testing.assert_array_equal(by_weights(variables, weights)[0], expected)


@pytest.mark.full
@pytest.mark.parametrize("path", PATHS[:2], ids=SMALL.encode)
def test_a_path_is_the_network_on_its_own(path, variables, train):
    network = SMALL.network(path)
    abstract = jax.eval_shape(network.init, jax.random.key(0), X)
    op = {f"block{i}": OPS[chosen] for i, chosen in enumerate(path, start=1)}

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
