import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datafree_nas import spaces
from datafree_nas.runtime import costs
from datafree_nas.runtime.errors import UserError
from datafree_nas.spaces.nasbench201 import OPS

SPACE = spaces.create_space("nasbench201")  # as published: 16 channels, 5 cells a stage, 32x32x3
SMALL = spaces.create_space(
    "nasbench201", num_classes=7, image_size=(8, 12, 1), channels=4, cells=2
)
NONE, SKIP, CONV3 = OPS.index("none"), OPS.index("skip_connect"), OPS.index("nor_conv_3x3")


def _cell(*chosen):
    return np.array(chosen, np.int32)


RANDOM = np.random.default_rng(0).integers(len(OPS), size=(30, 6)).astype(np.int32)


def _measured(space, architecture):
    """Weights and MACs of the real network, from its traced program."""
    network = space.network(architecture)
    image = jax.ShapeDtypeStruct((1, *space.image_size), jnp.float32)
    variables = jax.eval_shape(network.init, jax.random.key(0), image)
    params = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    return params, costs.macs(network.apply, variables, image)


@pytest.mark.parametrize("architecture", RANDOM, ids=SMALL.encode)
def test_closed_forms_are_those_of_the_network(architecture):
    expected = SMALL.params(architecture), SMALL.macs(architecture)
    assert expected == _measured(SMALL, architecture)


@pytest.mark.parametrize(
    ("op", "params", "macs"), [(NONE, 73_306, 7_783_040), (CONV3, 1_531_546, 220_119_680)]
)
def test_the_smallest_and_the_largest_network_of_the_benchmark(op, params, macs):
    architecture = _cell(*[op] * 6)
    assert (SPACE.params(architecture), SPACE.macs(architecture)) == (params, macs)
    assert _measured(SPACE, architecture) == (params, macs)


def test_every_cell_has_its_own_text():
    cells = [_cell(*chosen) for chosen in itertools.product(range(len(OPS)), repeat=6)]
    texts = {SPACE.encode(cell) for cell in cells}
    assert len(texts) == 15_625
    for cell in cells[::97]:
        np.testing.assert_array_equal(SPACE.decode(SPACE.encode(cell)), cell)


def test_the_notation_of_the_benchmark():
    text = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_1x1~1|none~2|"
    np.testing.assert_array_equal(SPACE.decode(text), [3, 3, 4, 1, 2, 0])
    assert SPACE.encode(_cell(3, 3, 4, 1, 2, 0)) == text


GOOD = SPACE.encode(_cell(3, 3, 4, 1, 2, 0))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        GOOD[:-1],
        GOOD + "|none~0|",
        GOOD.replace("nor_conv_3x3", "nor_conv_5x5"),
        GOOD.replace("~1", "~0"),
        GOOD.replace("+", ""),
        f"x{GOOD}",
        GOOD.replace("~0|+", "~1|+"),
        GOOD.replace("~", "-"),
        "43210",
        "[4, 3, 2, 1, 0, 3",
        "[4, 3, 2, 1, 0, -3]",
        "[4, 3, 2, 1, 0, 5]",
        "[4, 3, 2, 1, 0, 3.0]",
        "[4, 3, 2, 1, 0, True]",
        "4 3 2 10 3",  # 1 and 0, or 10?
        "[(('none', 0),), (('none', 0),), (('none', 0),)]",
        "[[('none', 0)], [('none', 1), ('none', 1)], [('none', 0), ('none', 1), ('none', 2)]]",
    ],
)
def test_text_that_is_no_cell(text):
    with pytest.raises(UserError, match=r"is no architecture of nasbench201: .*example: "):
        SPACE.decode(text)


TUPLES = (
    "((('nor_conv_3x3', 0),), (('nor_conv_3x3', 0), ('avg_pool_3x3', 1)), "
    "(('skip_connect', 0), ('nor_conv_1x1', 1), ('none', 2)))"
)


@pytest.mark.parametrize(
    "spelling",
    [
        f" {GOOD}\n",
        GOOD.replace("|", " | ").replace("+", "+\n"),
        f"'{GOOD}'",
        f"arch = {GOOD}",
        f"Structure(4 nodes with {GOOD})",  # AutoDL-Projects prints a cell so, and its tuples so:
        TUPLES,
        f"[{TUPLES[1:-1]}]",
        TUPLES.replace("('nor_conv_3x3', 0), ('avg", "('avg").replace(
            "1)),", "1), ('nor_conv_3x3', 0)),"
        ),
        "334120",
        "3 3 4 1 2 0",
        "[3, 3, 4, 1, 2, 0]",
        "(3, 3, 4, 1, 2, 0)",
        "3,3,4,1,2,0",
        "[3 3 4 1 2 0]",
        "array([3, 3, 4, 1, 2, 0])",
        "tensor([3, 3, 4, 1, 2, 0], device='cuda:0')",
        "[np.int64(3), np.int64(3), np.int64(4), 1, 2, 0]",
        str([OPS[op] for op in (3, 3, 4, 1, 2, 0)]),
        [3, 3, 4, 1, 2, 0],
    ],
    ids=str,
)
def test_other_spellings(spelling):
    np.testing.assert_array_equal(SPACE.decode(spelling), [3, 3, 4, 1, 2, 0])


def test_an_unknown_op_is_named():
    with pytest.raises(UserError, match="no op 'nor_conv_5x5'; did you mean 'nor_conv_3x3' or"):
        SPACE.decode(GOOD.replace("nor_conv_3x3~0|a", "nor_conv_5x5~0|a"))


# positions: 0→1, 0→2, 1→2, 0→3, 1→3, 2→3
@pytest.mark.parametrize(
    ("architecture", "connected"),
    [
        ((NONE,) * 6, False),
        ((SKIP,) * 6, True),
        ((NONE, NONE, NONE, SKIP, NONE, NONE), True),  # 0→3
        ((CONV3, NONE, CONV3, NONE, NONE, CONV3), True),  # 0→1→2→3
        ((CONV3, CONV3, CONV3, NONE, NONE, NONE), False),  # nothing enters 3
        ((NONE, NONE, CONV3, NONE, CONV3, CONV3), False),  # nothing leaves 0
        ((CONV3, NONE, NONE, NONE, NONE, CONV3), False),  # 0→1, 2→3
    ],
)
def test_connected(architecture, connected):
    assert SPACE.connected(_cell(*architecture)) is connected


def test_sample_is_uniform_and_follows_its_key():
    keys = jax.random.split(jax.random.key(0), 2000)
    drawn = np.asarray(jax.jit(jax.vmap(SPACE.sample))(keys))
    assert drawn.shape == (2000, 6)
    for position in range(6):
        counts = np.bincount(drawn[:, position], minlength=len(OPS))
        np.testing.assert_allclose(counts, 400, atol=90)  # 5 standard deviations
    np.testing.assert_array_equal(SPACE.sample(keys[3]), drawn[3])


def test_graph():
    graph = SPACE.graph(_cell(3, 3, 4, 1, 2, 0))
    assert graph["nodes"] == ["input", "node 1", "node 2", "output"]
    assert graph["edges"][2] == [1, 2, "avg_pool_3x3"]
    assert [edge[:2] for edge in graph["edges"]] == [[0, 1], [0, 2], [1, 2], [0, 3], [1, 3], [2, 3]]


def test_it_is_a_space():
    assert isinstance(SPACE, spaces.Space)
    assert (SPACE.name, SPACE.positions, SPACE.ops) == ("nasbench201", 6, OPS)
    with pytest.raises(UserError, match="no search space 'nasbench'; did you mean 'nasbench201'"):
        spaces.create_space("nasbench")
