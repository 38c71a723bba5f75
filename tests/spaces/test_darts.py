"""The space of DARTS: its costs and texts, its networks in PyTorch, and its supernet."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

from datafree_nas.interop.torch_names import state_dict
from datafree_nas.runtime import costs, lowering
from datafree_nas.runtime.errors import UserError
from datafree_nas.spaces.darts import Darts
from datafree_nas.spaces.darts_network import EDGES, OPS, CellPlan, _Cell, _op
from datafree_nas.spaces.genotype import DARTS_V1, DARTS_V2
from datafree_nas.spaces.space import Space
from tests.tiers import full

SPACE = Darts()
NONE, AVG, SKIP, SEP3 = (
    OPS.index(op) for op in ("none", "avg_pool_3x3", "skip_connect", "sep_conv_3x3")
)
RANDOM = np.random.default_rng(0).integers(SPACE.choices, size=(30, 24)).astype(np.int32)


def _sizes(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def _shapes(model, space, *gates):
    image = jax.ShapeDtypeStruct((1, *space.image_size), jnp.float32)
    with lowering.plain():  # of fewer parts, so that tracing takes less
        return jax.eval_shape(model.init, jax.random.key(0), image, *gates), image


# --- costs


@pytest.mark.full
def test_weights_of_the_search_network():
    space = Darts(num_classes=100)
    shapes, _ = _shapes(space.supernet(), space, jnp.zeros(28, jnp.int32))
    assert _sizes(shapes["params"]) == 1_953_748
    # the head is all that differs for 10 classes
    assert _sizes(shapes["params"]) - 257 * 90 == 1_930_618


IMAGENET = {
    "num_classes": 1000,
    "image_size": (224, 224, 3),
    "network_channels": 48,
    "network_cells": 14,
    "imagenet": True,
}


@pytest.mark.parametrize(
    ("settings", "text", "params", "auxiliary"),
    [
        ({}, DARTS_V1, 3_169_414, None),
        *full(({}, DARTS_V2, 3_349_342, 476_426), (IMAGENET, DARTS_V1, 4_510_432, 1_260_776)),
        (IMAGENET, DARTS_V2, 4_718_752, None),
    ],
)
def test_weights_of_the_published_networks(settings, text, params, auxiliary):
    space = Darts(**settings, auxiliary=True)
    architecture = space.decode(text)
    assert space.params(architecture) == params
    if auxiliary:  # for one of each size, that it takes no longer
        shapes, _ = _shapes(space.network(architecture), space)
        assert _sizes(shapes["params"].pop("auxiliary_head")) == auxiliary
        assert _sizes(shapes["params"]) == params


SMALL = Darts(7, (8, 12, 1), network_channels=4, network_cells=3)
ODD = [
    SMALL,
    Darts(3, (12, 4, 2), network_channels=6, network_cells=4),
    Darts(5, (32, 64, 2), network_channels=4, network_cells=3, imagenet=True),
    Darts(2, (32, 32, 3), network_channels=2, network_cells=1, auxiliary=True),
]


@pytest.mark.parametrize("space", ODD, ids=str)
@pytest.mark.parametrize("architecture", [RANDOM[0], *full(RANDOM[1])], ids=["a", "b"])
def test_closed_forms_are_those_of_the_network(space, architecture):
    network = space.network(architecture)
    variables, image = _shapes(network, space)
    variables["params"].pop("auxiliary_head", None)  # which evaluation does without
    assert space.params(architecture) == _sizes(variables["params"])
    assert space.macs(architecture) == costs.macs(network.apply, variables, image)


# --- architectures


@pytest.mark.parametrize("architecture", [*RANDOM, *map(SPACE.decode, (DARTS_V1, DARTS_V2))])
def test_every_architecture_has_a_text(architecture):
    np.testing.assert_array_equal(SPACE.decode(SPACE.encode(architecture)), architecture)


def test_the_order_within_a_node_does_not_matter():
    text = DARTS_V1.replace("skip_connect~0 sep_conv_3x3~1", "sep_conv_3x3~1 skip_connect~0")
    assert text != DARTS_V1
    assert SPACE.encode(SPACE.decode(text)) == DARTS_V1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        DARTS_V1[:-1],
        f"{DARTS_V1}|skip_connect~0 skip_connect~1",
        DARTS_V1.replace("reduce", "normal"),
        DARTS_V1.replace("max_pool_3x3~0", "max_pool_5x5~0"),
        DARTS_V1.replace("max_pool_3x3~0", "none~0"),
        DARTS_V1.replace("sep_conv_3x3~1|", "sep_conv_3x3~2|", 1),  # an input that is the node
        DARTS_V1.replace("sep_conv_3x3~1|", "sep_conv_5x5~0|", 1),  # one input twice
        DARTS_V1.replace("sep_conv_3x3~1|", "sep_conv_3x3~1 ", 1),
    ],
)
def test_text_that_is_no_genotype(text):
    with pytest.raises(UserError, match=r"is no architecture of darts: .*example: normal: "):
        SPACE.decode(text)


# as quark0/darts has them
NORMAL_V2 = (
    "normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), "
    "('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)]"
)
REDUCE_V2 = (
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), "
    "('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)]"
)
V2 = f"Genotype({NORMAL_V2}, normal_concat=[2, 3, 4, 5], {REDUCE_V2}, reduce_concat=[2, 3, 4, 5])"


@pytest.mark.parametrize(
    "spelling",
    [
        V2,
        f"DARTS_V2 = {V2}",
        V2.replace("[2, 3, 4, 5]", "range(2, 6)"),  # as programs print it
        f"11/27 10:21:30 AM genotype = {V2}",
        V2.replace(", ", ",\n    "),
        V2.replace("'", '"'),
        f"Genotype({NORMAL_V2}, {REDUCE_V2})",
        V2.replace("normal=", "").replace("normal_concat=", "").replace("reduce=", ""),
        "{"
        + f"{NORMAL_V2}, {REDUCE_V2}".replace("normal=", "'normal': ").replace(
            "reduce=", "'reduce': "
        )
        + "}",
        "DARTS_V2",
        f" {DARTS_V2}\n".replace("|", " | "),
        {
            "normal": [[("sep_conv_3x3", 0), ("sep_conv_3x3", 1)]] * 2
            + [["skip_connect~0", "sep_conv_3x3~1"], ("skip_connect~0", "dil_conv_3x3~2")],
            "reduce": [
                [("max_pool_3x3", 0), ("max_pool_3x3", 1)],
                [("skip_connect", 2), ("max_pool_3x3", 1)],
                [("skip_connect", 2), ("max_pool_3x3", 0)],
                [("skip_connect", 2), ("max_pool_3x3", 1)],
            ],
        },
    ],
    ids=lambda spelling: str(spelling)[:30],
)
def test_published_genotypes(spelling):
    assert SPACE.encode(SPACE.decode(spelling)) == DARTS_V2


# Xu et al. 2020, as yuhuixu1993/PC-DARTS has it
PC_DARTS = (
    "Genotype(normal=[('sep_conv_3x3', 1), ('skip_connect', 0), ('sep_conv_3x3', 0), "
    "('dil_conv_3x3', 1), ('sep_conv_5x5', 0), ('sep_conv_3x3', 1), ('avg_pool_3x3', 0), "
    "('dil_conv_3x3', 1)], normal_concat=range(2, 6), reduce=[('sep_conv_5x5', 1), "
    "('max_pool_3x3', 0), ('sep_conv_5x5', 1), ('sep_conv_5x5', 2), ('sep_conv_3x3', 0), "
    "('sep_conv_3x3', 3), ('sep_conv_3x3', 1), ('sep_conv_3x3', 2)], reduce_concat=range(2, 6))"
)


def test_a_genotype_of_another_method():
    found = SPACE.decode(PC_DARTS)
    assert SPACE.encode(found) == (
        "normal: skip_connect~0 sep_conv_3x3~1|sep_conv_3x3~0 dil_conv_3x3~1"
        "|sep_conv_5x5~0 sep_conv_3x3~1|avg_pool_3x3~0 dil_conv_3x3~1; "
        "reduce: max_pool_3x3~0 sep_conv_5x5~1|sep_conv_5x5~1 sep_conv_5x5~2"
        "|sep_conv_3x3~0 sep_conv_3x3~3|sep_conv_3x3~1 sep_conv_3x3~2"
    )


@pytest.mark.parametrize(
    ("spelling", "reason"),
    [
        (V2.replace("dil_conv_3x3", "dil_conv_7x7"), "no op 'dil_conv_7x7'; did you mean 'dil_"),
        (V2.replace("skip_connect", "none"), "no op 'none'"),
        (
            V2.replace("('dil_conv_3x3', 2)", "('dil_conv_3x3', 5)"),
            r"inputs \[0, 5\]; it needs two",
        ),
        (
            V2.replace("('dil_conv_3x3', 2)", "('dil_conv_3x3', 0)"),
            r"inputs \[0, 0\]; it needs two",
        ),
        (V2.replace("('dil_conv_3x3', 2)", "(2, 'dil_conv_3x3')"), "does not name an op and the"),
        (V2.replace(", ('dil_conv_3x3', 2)", ""), "the normal cell has 7 elements"),
        (V2.replace("[2, 3, 4, 5]", "range(3, 6)"), "normal_concat must be"),
        (V2.replace("normal_concat", "normal_conact"), "no part 'normal_conact'; did you mean"),
        (f"Genotype({NORMAL_V2})", "the reduce cell is missing"),
        (V2[:-40], "cannot be read; a bracket"),
        (f"{V2} {V2}", "cannot be read"),
        ("Genotype(normal=1, reduce=2)", "the normal cell is no list"),
        ("Genotype(**published)", "no part 'None'"),
        ("[0, 1, 2]", r"it is no Genotype\(normal="),
        ({"normal": [1] * 8, "reduce": []}, "1 does not name an op"),
        ({1: [], "reduce": []}, "no part 1"),
    ],
    ids=lambda text: str(text)[-30:],
)
def test_what_is_wrong_with_a_genotype(spelling, reason):
    with pytest.raises(UserError, match=reason):
        SPACE.decode(spelling)


def test_gates_of_a_published_network():
    gates = jax.jit(SPACE.gates)(SPACE.decode(DARTS_V1))
    nodes = np.split(np.asarray(gates[:14]), [2, 5, 9])
    expected = [
        [SEP3, SEP3],
        [SKIP, SEP3, NONE],
        [SKIP, SEP3, NONE, NONE],
        [SEP3, NONE, SKIP, NONE, NONE],
    ]
    for found, chosen in zip(nodes, expected, strict=True):
        np.testing.assert_array_equal(found, chosen)


@pytest.mark.parametrize("architecture", RANDOM[:5])
def test_gates_are_what_the_text_says(architecture):
    expected = np.zeros((2, len(EDGES)), int)
    for kind, cell in enumerate(_genotype(SPACE.encode(architecture))):
        for i, (op, source) in enumerate(cell):
            expected[kind, EDGES.index((source, i // 2 + 2))] = OPS.index(op)
    np.testing.assert_array_equal(SPACE.gates(architecture), expected.reshape(-1))


def _genotype(text):
    """Of both cells, the ops and their inputs, two a node."""
    cells = [cell.split(": ")[1].replace("|", " ").split(" ") for cell in text.split("; ")]
    return [[(one[:-2], int(one[-1])) for one in cell] for cell in cells]


def _derived(weights):
    """The release's rule for one cell, in its own terms."""
    kept, start = [], 0
    for node in range(4):
        rows = [row[1:].tolist() for row in weights[start : start + node + 2]]
        start += node + 2
        by_strength = sorted(range(node + 2), key=lambda i: -max(rows[i]))
        for source in sorted(by_strength[:2]):
            kept.append((OPS[1 + rows[source].index(max(rows[source]))], source))
    return kept


@pytest.mark.parametrize("seed", range(5))
def test_derive(seed):
    weights = np.random.default_rng(seed).random((28, 8), np.float32)
    weights[::3, NONE] = 9  # never chosen, and no reason to leave an edge out or keep it
    found = _genotype(SPACE.encode(SPACE.derive(weights)))
    assert found == [_derived(weights[:14]), _derived(weights[14:])]


def test_derive_undoes_gates():
    for architecture in RANDOM:
        weights = np.eye(8, dtype=np.float32)[SPACE.gates(architecture)]
        np.testing.assert_array_equal(SPACE.derive(weights), architecture)


def test_sample_takes_every_option_there_is():
    drawn = np.asarray(jax.vmap(SPACE.sample)(jax.random.split(jax.random.key(0), 300)))
    assert SPACE.choices == (1, 7, 7, 3, 7, 7, 6, 7, 7, 10, 7, 7) * 2
    np.testing.assert_array_equal(drawn.min(axis=0), 0)
    np.testing.assert_array_equal(drawn.max(axis=0), np.array(SPACE.choices) - 1)


def test_graph():
    graph = SPACE.graph(SPACE.decode(DARTS_V1))
    assert graph["nodes"][:3] == ["normal\nc_{k-2}", "normal\nc_{k-1}", "normal\n0"]
    assert graph["nodes"][6:8] == ["normal\nc_{k}", "reduce\nc_{k-2}"]
    assert len(graph["nodes"]) == 14
    assert len(graph["edges"]) == 2 * (8 + 4)
    assert graph["edges"][2:4] == [[0, 3, "skip_connect"], [1, 3, "sep_conv_3x3"]]
    assert graph["edges"][11] == [5, 6, "concat"]
    assert graph["edges"][-5] == [9, 12, "skip_connect"]
    assert all(start < end for start, end, _ in graph["edges"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": (32, 30, 3)}, "darts halves images 2 times; .* a side that 4 does not"),
        ({"image_size": (48, 32, 3), "imagenet": True}, "darts halves images 5 times"),
        ({"network_channels": 5}, "its channels must be even"),
        ({"image_size": (28, 32, 3), "auxiliary": True}, "images of 32 pixels or more a side"),
    ],
)
def test_sizes_that_do_not_fit(settings, message):
    with pytest.raises(UserError, match=message):
        Darts(**settings)


def test_it_is_a_space():
    assert isinstance(SPACE, Space)
    assert (SPACE.name, SPACE.positions, SPACE.ops) == ("darts", 28, OPS)
    assert SPACE.has.shape == (28, 8)
    assert SPACE.has.all()
    assert SPACE.connected(RANDOM[0])


# --- the release's networks, in PyTorch


def _conv(c_in, c_out, kernel=1, stride=1, padding=0, **settings):
    return nn.Conv2d(c_in, c_out, kernel, stride, padding, bias=False, **settings)


class Ops(nn.Module):
    """Layers under the name `op`."""

    def __init__(self, *layers):
        super().__init__()
        self.op = nn.Sequential(*layers)

    def forward(self, x):
        return self.op(x)


class FactorizedReduce(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        self.conv_1, self.conv_2 = (_conv(c_in, c_out // 2, stride=2) for _ in range(2))
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x):
        x = torch.relu(x)
        return self.bn(torch.cat([self.conv_1(x), self.conv_2(x[:, :, 1:, 1:])], 1))


def _separable(c, kernel, stride, dilation):
    padding = dilation * (kernel - 1) // 2
    depthwise = _conv(c, c, kernel, stride, padding, dilation=dilation, groups=c)
    return nn.ReLU(), depthwise, _conv(c, c), nn.BatchNorm2d(c)


TORCH_OPS = {
    "max_pool_3x3": lambda c, s: nn.MaxPool2d(3, s, 1),
    "avg_pool_3x3": lambda c, s: nn.AvgPool2d(3, s, 1, count_include_pad=False),
    "skip_connect": lambda c, s: nn.Identity() if s == 1 else FactorizedReduce(c, c),
    "sep_conv_3x3": lambda c, s: Ops(*_separable(c, 3, s, 1), *_separable(c, 3, 1, 1)),
    "sep_conv_5x5": lambda c, s: Ops(*_separable(c, 5, s, 1), *_separable(c, 5, 1, 1)),
    "dil_conv_3x3": lambda c, s: Ops(*_separable(c, 3, s, 2)),
    "dil_conv_5x5": lambda c, s: Ops(*_separable(c, 5, s, 2)),
}


class Cell(nn.Module):
    def __init__(self, genotype, c0, c1, c, reduction, after_reduction):
        super().__init__()
        plain = Ops(nn.ReLU(), _conv(c0, c), nn.BatchNorm2d(c))
        self.preprocess0 = FactorizedReduce(c0, c) if after_reduction else plain
        self.preprocess1 = Ops(nn.ReLU(), _conv(c1, c), nn.BatchNorm2d(c))
        self.sources = [source for _, source in genotype]
        strides = [2 if reduction and source < 2 else 1 for source in self.sources]
        ops = zip(genotype, strides, strict=True)
        self._ops = nn.ModuleList(TORCH_OPS[op](c, stride) for (op, _), stride in ops)

    def forward(self, x0, x1):
        states = [self.preprocess0(x0), self.preprocess1(x1)]
        for node in range(4):
            two = (2 * node, 2 * node + 1)
            states.append(sum(self._ops[i](states[self.sources[i]]) for i in two))
        return torch.cat(states[2:], 1)


class AuxiliaryHead(nn.Module):
    def __init__(self, c, classes, imagenet):
        super().__init__()
        norm = [] if imagenet else [nn.BatchNorm2d(768)]
        first = [nn.ReLU(), nn.AvgPool2d(5, 2 if imagenet else 3), _conv(c, 128)]
        second = [nn.BatchNorm2d(128), nn.ReLU(), _conv(128, 768, 2), *norm, nn.ReLU()]
        self.features = nn.Sequential(*first, *second)
        self.classifier = nn.Linear(768, classes)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


class TorchNetwork(nn.Module):
    """`NetworkCIFAR` or `NetworkImageNet`, by the sizes of a space."""

    def __init__(self, space, genotype):
        super().__init__()
        c, self.imagenet = space.network_channels, space.imagenet
        if space.imagenet:
            first = [_conv(3, c // 2, 3, 2, 1), nn.BatchNorm2d(c // 2), nn.ReLU()]
            self.stem0 = nn.Sequential(*first, _conv(c // 2, c, 3, 2, 1), nn.BatchNorm2d(c))
            self.stem1 = nn.Sequential(nn.ReLU(), _conv(c, c, 3, 2, 1), nn.BatchNorm2d(c))
            c0 = c1 = c
        else:
            self.stem = nn.Sequential(_conv(3, 3 * c, 3, 1, 1), nn.BatchNorm2d(3 * c))
            c0 = c1 = 3 * c
        self.cells = nn.ModuleList()
        thirds = [space.network_cells // 3, 2 * space.network_cells // 3]
        after_reduction = space.imagenet
        for i in range(space.network_cells):
            reduction = i in thirds
            c = 2 * c if reduction else c
            self.cells.append(Cell(genotype[reduction], c0, c1, c, reduction, after_reduction))
            c0, c1, after_reduction = c1, 4 * c, reduction
            if i == thirds[1]:
                self.auxiliary_head = AuxiliaryHead(c1, space.num_classes, space.imagenet)
        self.auxiliary_at = thirds[1]
        self.classifier = nn.Linear(c1, space.num_classes)

    def forward(self, x):
        x0 = self.stem0(x) if self.imagenet else self.stem(x)
        x1 = self.stem1(x0) if self.imagenet else x0
        for i, cell in enumerate(self.cells):
            x0, x1 = x1, cell(x0, x1)
            if i == self.auxiliary_at and self.training:
                auxiliary = self.auxiliary_head(x1)
        logits = self.classifier(x1.mean((2, 3)))
        return (logits, auxiliary) if self.training else logits


def _to_torch(x):
    return torch.from_numpy(np.asarray(x).transpose(0, 3, 1, 2).copy())


def _tensors(variables):
    named = state_dict(jax.device_get(variables), SPACE.torch_name)
    return {name: torch.from_numpy(value.copy()) for name, value in named.items()}


def _assert_close(found, expected, relative=1e-5):
    expected = np.asarray(expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=relative * np.abs(expected).max())


@pytest.mark.parametrize("in_switch", [*full(True), False], ids=["in a switch on a CPU", "plain"])
@pytest.mark.parametrize("stride", [*full(1), 2])
@pytest.mark.parametrize("op", OPS[1:])
def test_every_op_is_that_of_pytorch(op, stride, in_switch, random_variables):
    module = _op(op, in_switch=in_switch, stride=stride, features=4, in_supernet=False)
    x = jax.random.normal(jax.random.key(1), (2, 6, 10, 4))
    variables = {"params": {}, **random_variables(module, x, train=False)}

    def loss(params, x):
        y = module.apply({**variables, "params": params}, x, train=False)
        return jnp.sum(jnp.sin(y)), y

    with contextlib.nullcontext() if in_switch else lowering.plain():
        gradient = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
        (of_params, of_x), y = gradient(variables["params"], x)

    model = TORCH_OPS[op](4, stride).eval()
    model.load_state_dict(_tensors(variables), strict=False)
    assert {k for k in model.state_dict() if "num_b" not in k} == _tensors(variables).keys()
    torch_x = _to_torch(x).requires_grad_()
    expected = model(torch_x)
    expected.sin().sum().backward()
    _assert_close(_to_torch(y), expected.detach())
    _assert_close(_to_torch(of_x), torch_x.grad)
    found = _tensors({"params": of_params})
    for name, parameter in model.named_parameters():
        _assert_close(found[name], parameter.grad)


def test_none_is_nothing():
    x = jnp.ones((2, 6, 10, 4))
    for stride, shape in ((1, (2, 6, 10, 4)), (2, (2, 3, 5, 4))):
        y = _op("none", stride=stride, features=4, in_supernet=True).apply({}, x, True)
        np.testing.assert_array_equal(y, np.zeros(shape))


@pytest.mark.full
@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"network_cells": 5}, SPACE.encode(RANDOM[0])),  # reductions at 1 and 3
        ({**IMAGENET, "num_classes": 7, "network_cells": 3}, DARTS_V2),
    ],
    ids=["cifar", "imagenet"],
)
def test_a_whole_network_in_pytorch(settings, text, random_variables):
    space = Darts(**{**settings, "network_channels": 4}, auxiliary=True)
    network = space.network(space.decode(text))
    x = jax.random.normal(jax.random.key(0), (4, *space.image_size))
    variables = random_variables(network, x)

    def both(variables):
        new = ["batch_stats", "auxiliary"]
        trained, changed = network.apply(variables, x, train=True, mutable=new)
        return network.apply(variables, x), trained, *changed["auxiliary"]["logits"]

    with lowering.plain():
        evaluated, trained, auxiliary = jax.jit(both)(variables)
    model = TorchNetwork(space, _genotype(text)).eval()
    missing, unexpected = model.load_state_dict(_tensors(variables), strict=False)
    assert not unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing)
    with torch.no_grad():
        _assert_close(evaluated, model(_to_torch(x)))
        expected, expected_auxiliary = model.train()(_to_torch(x))
    # a batch's own statistics, of few pixels at the end, enlarge what is rounded
    _assert_close(trained, expected, 1e-4)
    _assert_close(auxiliary, expected_auxiliary, 1e-4)


# --- what only training does


def test_auxiliary_logits_are_there_in_train_mode_only(random_variables):
    space = Darts(network_channels=2, network_cells=1, auxiliary=True)
    network, x = space.network(RANDOM[0]), jnp.ones((2, 32, 32, 3))
    shapes, _ = _shapes(network, space)
    assert shapes.keys() == {"params", "batch_stats"}

    def collections(**settings):
        new = ["batch_stats", "auxiliary"]
        apply = lambda v: network.apply(v, x, mutable=new, **settings)  # noqa: E731
        return jax.eval_shape(apply, shapes)[1]

    assert "auxiliary" not in collections(train=False)
    (logits,) = collections(train=True)["auxiliary"]["logits"]
    assert logits.shape == (2, 10)


N, F = 400, 2


@pytest.fixture(scope="module")
def cell(random_variables):
    """A normal cell whose first two nodes are its first input plus the pooled second one."""
    chosen = np.zeros(len(EDGES), int)
    for source, target in EDGES:
        if source < 2:
            op = AVG if source == 1 and target < 4 else SKIP
            chosen[EDGES.index((source, target))] = op
    module = _Cell(CellPlan(F, False, False), tuple(chosen.tolist()))
    x = jax.random.normal(jax.random.key(3), (2, N, 4, 4, 3))
    variables = random_variables(module, *x, gates=None, train=False, drop_path=0.0)

    @jax.jit
    def train(rate):
        rngs = {"drop_path": jax.random.key(1)}
        return module.apply(variables, *x, None, True, rate, rngs=rngs, mutable=["batch_stats"])[0]

    return train, module, variables, x


def test_drop_path_leaves_out_ops_of_single_images(cell):
    train, *_ = cell
    whole, rate = train(jnp.float32(0)), 0.3
    dropped = train(jnp.float32(rate))
    first, second, *others = jnp.split(whole, 4, axis=-1)
    for found, expected in zip(jnp.split(dropped, 4, axis=-1)[2:], others, strict=True):
        np.testing.assert_array_equal(found, expected)  # identities are never dropped
    np.testing.assert_array_equal(first, second)
    # node = skip + pool · mask / keep, so that the change is one or the other multiple of pool
    everything_gone = train(jnp.float32(1 - 1e-6))
    pool = first - jnp.split(everything_gone, 4, axis=-1)[0]
    masks = []
    for found in jnp.split(dropped, 4, axis=-1)[:2]:
        change = (found - first).reshape(N, -1)
        pooled = pool.reshape(N, -1)
        factor = jnp.sum(change * pooled, axis=1) / jnp.sum(pooled**2, axis=1)
        np.testing.assert_allclose(change, factor[:, None] * pooled, atol=1e-4)
        gone = np.asarray(factor) < 0
        np.testing.assert_allclose(factor, np.where(gone, -1, rate / (1 - rate)), atol=1e-3)
        np.testing.assert_allclose(gone.mean(), rate, atol=0.12)  # 5 standard deviations
        masks.append(gone)
    assert 0.3 < np.mean(masks[0] != masks[1]) < 0.54  # 0.42 if they are independent
    assert train._cache_size() == 1


def test_no_drop_path_without_a_random_stream(cell):
    train, module, variables, x = cell
    plain = jax.jit(
        lambda v: module.apply(v, *x, None, True, 0.0, mutable=["batch_stats"])[0],
    )(variables)
    np.testing.assert_allclose(plain, train(jnp.float32(0)), rtol=1e-5, atol=1e-5)
    jax.eval_shape(lambda v: module.apply(v, *x, None, False, 0.5), variables)  # needs none
    with pytest.raises(Exception, match="drop_path"):
        module.apply(variables, *x, None, True, 0.5, mutable=["batch_stats"])


# --- the supernet

TINY = Darts(image_size=(8, 8, 2), channels=4, cells=3, network_channels=4, network_cells=3)
SUPERNET = TINY.supernet()
X = jax.random.normal(jax.random.key(0), (6, 8, 8, 2))


@pytest.fixture(scope="module")
def variables(random_variables):
    with lowering.plain():
        return random_variables(SUPERNET, X, jnp.zeros(28, jnp.int32))


@pytest.fixture(scope="module")
def apply():
    """By index and by weights; plain convolutions compile in a third of the time."""

    def train(variables, gates):
        with lowering.plain():
            return SUPERNET.apply(variables, X, gates, train=True, mutable=["batch_stats"])[0]

    return jax.jit(lambda *a: train(*a)), jax.jit(lambda *a: train(*a))


@pytest.mark.full
def test_an_index_is_a_weight_of_one(variables, apply):
    by_index, by_weights = apply
    generator = np.random.default_rng(0)
    any_ops = generator.integers(len(OPS), size=28).astype(np.int32)
    for gates in (any_ops, *(TINY.gates(a) for a in RANDOM[:3])):
        found = by_index(variables, jnp.asarray(gates))
        expected = by_weights(variables, jax.nn.one_hot(gates, len(OPS)))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)
    by_weights(variables, jnp.asarray(generator.random((28, 8), np.float32)))
    assert by_index._cache_size() == by_weights._cache_size() == 1


@pytest.mark.full
def test_a_path_is_the_network_on_its_own(variables, apply):
    """With BatchNorm that is affine in name only; pools have none, so there are no pools."""
    architecture = np.where(np.arange(24) % 3, np.maximum(RANDOM[1], 2), RANDOM[1])
    gates, network = np.asarray(TINY.gates(architecture)), TINY.network(architecture)
    shapes, _ = _shapes(network, TINY)

    def taken(path, shape):
        collection, cell, *inner = (entry.key for entry in path)
        if cell.startswith("cells") and inner[-1] in ("scale", "bias"):
            return jnp.full(shape.shape, float(inner[-1] == "scale"))
        if inner[0].startswith("_ops"):
            of_cell = gates[:14] if cell == "cells.0" else gates[14:]
            edge = np.flatnonzero(of_cell)[int(inner[0][5:])]
            inner = [f"edge{edge}", OPS[of_cell[edge]], *inner[1:]]
        leaf = variables[collection]
        for name in (cell, *inner):
            leaf = leaf[name]
        return leaf

    alone = jax.tree_util.tree_map_with_path(taken, shapes)
    with lowering.plain():
        train = jax.jit(lambda v: network.apply(v, X, train=True, mutable=["batch_stats"])[0])
        found = train(alone)
    expected = apply[0](variables, jnp.asarray(gates))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_nothing_in_a_cell_of_the_supernet_is_affine(variables):
    for cell, inner in variables["params"].items():
        leaves = {path[-1].key for path, _ in jax.tree_util.tree_leaves_with_path(inner)}
        if cell.startswith("cells"):
            assert leaves == {"kernel"}
    # every candidate but `none` and the identity has statistics, pools too
    stats = variables["batch_stats"]["cells.1"]["edge0"]
    assert stats.keys() == set(OPS) - {"none"}
    assert variables["batch_stats"]["cells.0"]["edge0"].keys() == stats.keys() - {"skip_connect"}
    for edge, (source, _) in enumerate(EDGES):
        inner = variables["batch_stats"]["cells.2"][f"edge{edge}"]
        assert ("skip_connect" in inner) == (source < 2)  # where a skip halves the size
