"""The ShuffleNetV2 space of SPOS, and its blocks and networks as PyTorch states them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

from datafree_nas import spaces
from datafree_nas.interop.torch_names import key_table, state_dict
from datafree_nas.layers import initial
from datafree_nas.runtime import costs
from datafree_nas.runtime.errors import UserError
from datafree_nas.spaces.shufflenet import OPS, ShuffleNet, _Block, _BlockSpec
from tests.tiers import full

SPACE = ShuffleNet()  # as published: 224x224x3, 1000 classes
SMALL = ShuffleNet(
    num_classes=7,
    image_size=(11, 8, 2),
    channels=(4, 6, 10, 16, 12),
    repeats=(3, 1, 2),
    stem_stride=1,
)
SEARCHED = np.array([2, 1, 0, 1, 2, 0, 2, 0, 2, 0, 2, 3, 0, 0, 0, 0, 3, 2, 3, 3], np.int32)
GENERATOR = np.random.default_rng(0)


def _random(space, count):
    return GENERATOR.integers(len(OPS), size=(count, space.positions)).astype(np.int32)


def _size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def _measured(space, architecture):
    """Weights and MACs of the real network, from its traced program."""
    network = space.network(architecture)
    image = jax.ShapeDtypeStruct((1, *space.image_size), jnp.float32)
    variables = jax.eval_shape(network.init, jax.random.key(0), image)
    return _size(variables["params"]), costs.macs(network.apply, variables, image)


def test_the_searched_network():
    assert (SPACE.params(SEARCHED), SPACE.macs(SEARCHED)) == (3_558_464, 322_918_720)
    assert _measured(SPACE, SEARCHED) == (3_558_464, 322_918_720)


def test_the_supernet_has_the_weights_of_the_release():
    image = jax.ShapeDtypeStruct((1, *SPACE.image_size), jnp.float32)
    gates = jax.ShapeDtypeStruct((20,), jnp.int32)
    variables = jax.eval_shape(SPACE.supernet().init, jax.random.key(0), image, gates)
    assert _size(variables["params"]) == 8_388_176
    leaves = {path[-1].key for path, _ in jax.tree_util.tree_leaves_with_path(variables["params"])}
    assert leaves == {"kernel"}  # no bias, and no BatchNorm is affine


def test_macs_of_every_block():
    first = [
        [13_396_992, 15_805_440, 19_418_112, 13_146_112],
        [26_304_768, 28_111_104, 30_820_608, 20_296_192],
        [30_670_080, 31_673_600, 33_178_880, 21_199_360],
        [30_387_840, 30_889_600, 31_642_240, 20_634_880],
    ]
    later = [
        [7_325_696, 8_931_328, 11_339_776, 12_343_296],
        [10_599_680, 11_603_200, 13_108_480, 16_746_240],
        [10_317_440, 10_819_200, 11_571_840, 15_899_520],
        [10_176_320, 10_427_200, 10_803_520, 15_476_160],
    ]
    blocks = zip(first, later, (4, 4, 8, 4), strict=True)
    table = [row for a, b, repeats in blocks for row in [a] + [b] * (repeats - 1)]
    np.testing.assert_array_equal(SPACE.macs_cost.table, table)
    assert SPACE.macs_cost.fixed == 5_419_008 + 33_136_640


@pytest.mark.parametrize("op", range(4), ids=OPS)
def test_uniform_networks(op):
    macs = SPACE.macs(np.full(20, op, np.int32))
    assert round(macs / 1e4) == (29584, 31365, 34037, 35883)[op]


@pytest.mark.parametrize("architecture", _random(SMALL, 5), ids=SMALL.encode)
def test_closed_forms_are_those_of_the_network(architecture):
    expected = SMALL.params(architecture), SMALL.macs(architecture)
    assert expected == _measured(SMALL, architecture)


@pytest.mark.parametrize(
    "settings",
    [
        {"image_size": (32, 32, 3), "stem_stride": 1, "num_classes": 10},
        {"image_size": (37, 50, 1), "channels": (2, 8, 20, 3), "repeats": (2, 3)},
    ],
    ids=["cifar", "odd"],
)
def test_closed_forms_with_other_settings(settings):
    space = ShuffleNet(**settings)
    architecture = _random(space, 1)[0]
    expected = space.params(architecture), space.macs(architecture)
    assert expected == _measured(space, architecture)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"repeats": (4, 4, 8)}, "blocks of every stage"),
        ({"repeats": (4, 0, 8, 4)}, "blocks of every stage"),
        ({"channels": (16, 64, 161, 320, 640, 1024)}, "even number of channels"),
        ({"channels": (16, 64, 64, 320, 640, 1024)}, "more than there are before it"),
    ],
)
def test_settings_that_are_no_space(settings, message):
    with pytest.raises(UserError, match=message):
        ShuffleNet(**settings)


def test_text():
    assert SPACE.encode(SEARCHED) == "21012020202300003233"
    for architecture in _random(SPACE, 20):
        np.testing.assert_array_equal(SPACE.decode(SPACE.encode(architecture)), architecture)


@pytest.mark.parametrize(
    "text", ["", "nonsense", "0" * 19, "0" * 21, "0" * 19 + "4", "[" + "0" * 20, "-" * 20]
)
def test_text_that_is_no_network(text):
    with pytest.raises(UserError, match="is no architecture of shufflenet: "):
        SPACE.decode(text)


# as the release prints it
RELEASED = "(2, 1, 0, 1, 2, 0, 2, 0, 2, 0, 2, 3, 0, 0, 0, 0, 3, 2, 3, 3)"


@pytest.mark.parametrize(
    "spelling", [RELEASED, f"architecture = {RELEASED}", f"[{RELEASED[1:-1]}]", RELEASED[1:-1]]
)
def test_other_spellings(spelling):
    np.testing.assert_array_equal(SPACE.decode(spelling), SEARCHED)


def test_sample_is_uniform():
    keys = jax.random.split(jax.random.key(0), 2000)
    drawn = np.asarray(jax.jit(jax.vmap(SPACE.sample))(keys))
    assert drawn.shape == (2000, 20)
    for position in range(20):
        counts = np.bincount(drawn[:, position], minlength=len(OPS))
        assert len(counts) == len(OPS)
        np.testing.assert_allclose(counts, 500, atol=100)  # 5 standard deviations


def test_it_is_a_space():
    assert isinstance(SPACE, spaces.Space)
    assert (SPACE.name, SPACE.positions, SPACE.choices) == ("shufflenet", 20, (4,) * 20)
    assert SPACE.has.shape == (20, 4)
    graph = SPACE.graph(SEARCHED)
    assert len(graph["nodes"]) == 21
    assert (graph["nodes"][0], graph["nodes"][20]) == ("input", "output")
    assert graph["edges"][11] == [11, 12, "xception"]


# the release's network, in words of our own


def pointwise(c_in, c_out):
    return [nn.Conv2d(c_in, c_out, 1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()]


def depthwise(c, kernel, stride=1):
    conv = nn.Conv2d(c, c, kernel, stride, kernel // 2, groups=c, bias=False)
    return [conv, nn.BatchNorm2d(c)]


class TorchBlock(nn.Module):
    def __init__(self, op, c_in, c_out, stride):
        super().__init__()
        c = c_in if stride == 2 else c_in // 2  # that enter a branch
        mid, kernel = c_out // 2, {"xception": 3}.get(op) or int(op[-1])
        if op == "xception":
            layers = [*depthwise(c, 3, stride), *pointwise(c, mid)]
            layers += [*depthwise(mid, 3), *pointwise(mid, mid)]
            layers += [*depthwise(mid, 3), *pointwise(mid, c_out - c)]
        else:
            layers = [*pointwise(c, mid), *depthwise(mid, kernel, stride)]
            layers += pointwise(mid, c_out - c)
        self.branch_main = nn.Sequential(*layers)
        if stride == 2:
            self.branch_proj = nn.Sequential(*depthwise(c, kernel, 2), *pointwise(c, c))

    def forward(self, x):
        if hasattr(self, "branch_proj"):
            return torch.cat([self.branch_proj(x), self.branch_main(x)], 1)
        even, odd = x.unflatten(1, (-1, 2)).unbind(2)
        return torch.cat([even, self.branch_main(odd)], 1)


class TorchNetwork(nn.Module):
    def __init__(self, space, architecture):
        super().__init__()
        stem, *widths, last = space.channels
        conv = nn.Conv2d(space.image_size[2], stem, 3, space.stem_stride, 1, bias=False)
        self.first_conv = nn.Sequential(conv, nn.BatchNorm2d(stem), nn.ReLU())
        blocks, c, ops = [], stem, iter(architecture)
        for width, repeats in zip(widths, space.repeats, strict=True):
            for stride in [2] + [1] * (repeats - 1):
                blocks.append(TorchBlock(OPS[next(ops)], c, width, stride))
                c = width
        self.features = nn.Sequential(*blocks)
        self.conv_last = nn.Sequential(*pointwise(c, last))
        self.classifier = nn.Sequential(nn.Linear(last, space.num_classes, bias=False))

    def forward(self, x):
        x = self.conv_last(self.features(self.first_conv(x)))
        return self.classifier(x.mean((2, 3)))


def _nchw(x):
    return torch.from_numpy(np.ascontiguousarray(np.asarray(x).transpose(0, 3, 1, 2)))


def _load(model, state):
    model.load_state_dict({key: torch.tensor(value) for key, value in state.items()})
    return model.eval()


def _close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("op", [*full(*OPS[:2]), OPS[2], *full(*OPS[3:])])
def test_a_block_in_pytorch(op, stride, random_variables):
    """Its output and all gradients."""
    place = _BlockSpec(6 if stride == 2 else 5, 10, stride)
    block = _Block(op, place, in_supernet=False)
    x = np.random.default_rng(1).normal(size=(3, 9, 8, place.inputs * (3 - stride)))
    x = jnp.asarray(x, jnp.float32)
    variables = random_variables(block, x, train=False)
    y = jax.eval_shape(lambda: block.apply(variables, x, train=False))
    weight = np.random.default_rng(2).normal(size=y.shape).astype(np.float32)

    def rename(module):
        return SMALL.torch_name(f"block0.{module}").removeprefix("features.0.")

    def weighted(params, x):
        y = block.apply({**variables, "params": params}, x, train=False)
        return jnp.sum(y * weight), y

    program = jax.jit(jax.value_and_grad(weighted, (0, 1), has_aux=True))
    (_, y), (of_params, of_x) = program(variables["params"], x)

    model = _load(TorchBlock(op, x.shape[-1], 10, stride), state_dict(variables, rename))
    x_torch = _nchw(x).requires_grad_()
    y_torch = model(x_torch)
    (y_torch * _nchw(weight)).sum().backward()
    _close(_nchw(y), y_torch.detach().numpy())
    _close(_nchw(of_x), x_torch.grad.numpy())
    parameters = dict(model.named_parameters())
    table = key_table({"params": of_params}, rename)
    assert table.keys() == parameters.keys()
    for key, value in state_dict({"params": of_params}, rename).items():
        _close(value, parameters[key].grad.numpy())


def test_a_network_in_pytorch(random_variables):
    architecture = (0, 1, 3, 3, 2, 0)
    network = SMALL.network(np.array(architecture, np.int32))
    x = np.random.default_rng(0).normal(size=(2, *SMALL.image_size)).astype(np.float32)
    variables = random_variables(network, jnp.asarray(x))
    # strict: every weight of the release's network is there and nothing else, under its name
    state = state_dict(variables, SMALL.torch_name)
    model = TorchNetwork(SMALL, architecture)
    counters = {k: v.numpy() for k, v in model.state_dict().items() if k.endswith("_tracked")}
    with torch.no_grad():
        expected = _load(model, counters | state)(_nchw(x)).numpy()
    _close(jax.jit(network.apply)(variables, x), expected)


# the supernet

TINY = ShuffleNet(
    num_classes=5, image_size=(8, 8, 2), channels=(4, 8, 6), repeats=(2,), stem_stride=1
)
SUPERNET = TINY.supernet()
X = jax.random.normal(jax.random.key(0), (6, 8, 8, 2))
ROWS = np.array([[0, 2], [3, 3], [1, 0], [2, 1]], np.int32)


@pytest.fixture(scope="module")
def variables(random_variables):
    return random_variables(SUPERNET, X, jnp.zeros(2, jnp.int32))


def _train(model, variables, *gates):
    return model.apply(variables, X, *gates, train=True, mutable=["batch_stats"])


@pytest.fixture(scope="module")
def by_index():
    return jax.jit(lambda variables, gates: _train(SUPERNET, variables, gates))


@pytest.fixture(scope="module")
def by_weights():
    return jax.jit(lambda variables, gates: _train(SUPERNET, variables, gates))


@pytest.mark.full
@pytest.mark.parametrize("architecture", ROWS, ids=TINY.encode)
def test_an_index_is_a_weight_of_one(architecture, variables, by_index, by_weights):
    chosen, chosen_stats = by_index(variables, architecture)
    weighted, weighted_stats = by_weights(variables, jax.nn.one_hot(architecture, len(OPS)))
    np.testing.assert_allclose(chosen, weighted, rtol=1e-4, atol=1e-4)
    for position, op in enumerate(architecture):
        for name in OPS:  # the candidates of the path have seen the batch, others nothing
            source = weighted_stats if name == OPS[op] else variables
            expected = source["batch_stats"][f"block{position}"][name]
            found = chosen_stats["batch_stats"][f"block{position}"][name]
            for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.full
def test_all_gates_share_one_program(variables, by_index, by_weights):
    logits = [by_index(variables, gates)[0] for gates in _random(TINY, 10)]
    assert not np.allclose(logits[0], logits[1])
    for seed in range(3):
        weights = np.random.default_rng(seed).random((2, len(OPS)), np.float32)
        by_weights(variables, jnp.asarray(weights))
    assert by_index._cache_size() == by_weights._cache_size() == 1


def _affine(network, taken):
    """The variables of a network of its own, with these weights and its own scales and biases."""
    abstract = jax.eval_shape(network.init, jax.random.key(0), X)

    def leaf(path, shape):
        found = taken
        for entry in path:
            found = found.get(entry.key, {})
        neutral = jnp.ones if path[-1].key == "scale" else jnp.zeros
        return neutral(shape.shape) if isinstance(found, dict) else found

    return jax.tree_util.tree_map_with_path(leaf, abstract)


@pytest.mark.full
@pytest.mark.parametrize("architecture", ROWS[:2], ids=TINY.encode)
def test_a_path_is_the_network_on_its_own(architecture, variables, by_index):
    taken = {kind: dict(variables[kind]) for kind in variables}
    for position, op in enumerate(architecture):
        for modules in taken.values():
            modules[f"block{position}"] = modules[f"block{position}"][OPS[op]]
    network = TINY.network(architecture)
    logits, _ = jax.jit(lambda v: _train(network, v))(_affine(network, taken))
    np.testing.assert_allclose(logits, by_index(variables, architecture)[0], rtol=1e-3, atol=1e-3)


def test_initial_values_are_those_of_the_release():
    space = ShuffleNet(channels=(32, 64, 128), repeats=(2,), num_classes=50)
    network = space.network(np.array([0, 3], np.int32))
    image = jax.ShapeDtypeStruct((1, 8, 8, 3), np.float32)
    variables = initial.variables(network, jax.random.key(0), image, rule=space.initial)
    firsts = []
    for key, value in state_dict(variables, space.torch_name).items():
        if key.endswith("bias"):
            np.testing.assert_array_equal(value, np.float32(1e-4))
        elif value.ndim == 1:
            np.testing.assert_array_equal(value, "mean" not in key)
        else:
            ends = key in ("first_conv.0.weight", "classifier.0.weight")
            deviation = 0.01 if ends else 1 / value.shape[1]
            np.testing.assert_allclose(np.std(value), deviation, rtol=0.2)
            np.testing.assert_allclose(np.mean(value), 0, atol=0.3 * deviation)
            firsts.append(value.flat[0] / deviation)
    assert len(set(firsts)) == len(firsts) == 3 + 5 + 6  # every tensor has numbers of its own


def test_dropout_is_before_the_head_and_in_training_only():
    settings = {"num_classes": 3, "image_size": (8, 8, 1), "channels": (2, 4, 64), "repeats": (1,)}
    only = np.zeros(1, np.int32)
    half, none = (ShuffleNet(**settings, dropout=rate).network(only) for rate in (0.5, 0.0))
    x = jnp.asarray(GENERATOR.normal(size=(4, 8, 8, 1)), jnp.float32)
    variables = initial.variables(none, jax.random.key(1), x)

    @jax.jit
    def train(key):
        rngs = {"dropout": key}
        return half.apply(variables, x, train=True, mutable=["batch_stats"], rngs=rngs)[0]

    @jax.jit
    def without_stream():
        return none.apply(variables, x, train=True, mutable=["batch_stats"])[0]

    drawn, whole = (
        [train(key) for key in jax.random.split(jax.random.key(2), 1000)],
        without_stream(),
    )
    assert not np.allclose(drawn[0], whole, rtol=0.01)
    np.testing.assert_allclose(np.mean(drawn, axis=0), whole, atol=0.1 * np.abs(whole).max())
    evaluated = [jax.jit(model.apply)(variables, x) for model in (half, none)]
    np.testing.assert_array_equal(*evaluated)
