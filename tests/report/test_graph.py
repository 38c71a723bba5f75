"""Architectures as drawings."""

import functools
import re
from itertools import combinations, pairwise

import matplotlib.style
import pytest
from matplotlib.patches import FancyArrowPatch
from matplotlib.path import Path

from datafree_nas.report import colours, graph
from datafree_nas.report.graph_rows import rows
from datafree_nas.report.svg import STYLE, WIDTH
from datafree_nas.spaces import registry

CELL = ["input", "node 1", "node 2", "output"]
CELL_EDGES = [[0, 1, "conv"], [0, 2, "none"], [1, 2, "skip"], [0, 3, "none"], [2, 3, "conv"]]
GENOTYPE = [
    f"{kind}\n{name}" for kind in ("normal", "reduce") for name in ("c_{k-1}", "0", "c_{k}")
]
GENOTYPE_EDGES = [[0, 1, "sep"], [1, 2, "concat"], [3, 4, "dil"], [3, 5, "skip"], [4, 5, "concat"]]
GRAPHS = {
    "chain": ([f"node {i}" for i in range(22)], [[i, i + 1, f"op {i % 3}"] for i in range(21)]),
    "cell": (CELL, CELL_EDGES),
    "genotype": (GENOTYPE, GENOTYPE_EDGES),
    "complete": (
        [f"node {i}" for i in range(7)],
        [[a, b, "dil_conv_5x5"] for b in range(7) for a in range(b)],
    ),
    "crossed in the middle": (
        [f"node {i}" for i in range(7)],
        [
            *([0, 2, "skip"], [0, 5, "sep"], [1, 2, "pool"], [1, 3, "pool"], [2, 3, "skip"]),
            *([2, 4, "skip"], [3, 4, "skip"], [3, 5, "dil"]),
            *([start, 6, "concat"] for start in (2, 3, 4, 5)),
        ],
    ),
    "no edge drawn": (["node 0", "node 1"], [[0, 1, "none"]]),
    "one node": (["node 0"], []),
}
SPACES = {
    space.name: tuple(space.graph(space.decode(space.example)).values())
    for space in map(registry.create_space, registry.names())
}
each_graph = pytest.mark.parametrize("name", GRAPHS)


def _draw(nodes, edges):
    return graph.network("name", nodes, edges, colours.of_ops([op for _, _, op in edges]))


@functools.cache
def _axes(name):
    """Draws a graph or the example of a space; returns the axes before they are SVG."""
    nodes, edges = (GRAPHS | SPACES)[name]
    table = colours.of_ops([op for _, _, op in edges])
    with matplotlib.style.context(["default", STYLE]):
        figure = graph.network.__wrapped__(nodes, edges, table)
        figure.draw_without_rendering()
    return figure.axes[0]


def _texts(svg):
    """Returns the texts of a drawing from top to bottom."""
    found = re.findall(r'<text[^>]*?\by="([^"]*)"[^>]*>([^<]*)</text>', svg)
    return [text.strip() for _, text in sorted(found, key=lambda item: float(item[0]))]


def test_a_long_chain_is_several_rows_that_hang_together():
    nodes, edges = GRAPHS["chain"]
    parts = rows(nodes, edges)
    assert [len(part.edges) for part in parts] == [5, 5, 5, 5, 1]
    assert [op for part in parts for _, _, op in part.edges] == [op for _, _, op in edges]
    for above, below in pairwise(parts):
        assert above.nodes[-1] == below.nodes[0]
    for part in parts:
        assert [edge[:2] for edge in part.edges] == [[i, i + 1] for i in range(len(part.edges))]
        assert len(part.nodes) == len(part.edges) + 1


def test_cells_of_a_genotype_are_rows_with_titles():
    normal, reduce = rows(GENOTYPE, GENOTYPE_EDGES)
    assert (normal.title, reduce.title) == ("normal", "reduce")
    assert normal.nodes == reduce.nodes == ["c_{k-1}", "0", "c_{k}"]
    assert normal.edges == [[0, 1, "sep"], [1, 2, "concat"]]
    assert reduce.edges == [[0, 1, "dil"], [0, 2, "skip"], [1, 2, "concat"]]


def test_a_cell_is_one_row_though_nothing_passes_some_edges():
    (row,) = rows(CELL, CELL_EDGES)
    assert (row.title, row.nodes, row.edges) == ("", CELL, CELL_EDGES)
    (row,) = rows(["a", "b"], [[0, 1, "none"]])
    assert row.nodes == ["a", "b"]


def test_a_title_is_what_all_names_share():
    (row,) = rows(["normal\na", "other\nb"], [[0, 1, "conv"]])
    assert (row.title, row.nodes) == ("", ["normal\na", "other\nb"])


@each_graph
def test_every_name_is_drawn_and_fits_the_page(name):
    nodes, edges = GRAPHS[name]
    svg = _draw(nodes, edges)
    texts = _texts(svg)
    for node in nodes:
        assert node.rpartition("\n")[2] in texts
    for op in {op for _, _, op in edges}:
        assert (op in texts) == (op != "none")
    assert float(re.search(r'<svg[^>]* width="([\d.]*)pt"', svg)[1]) <= WIDTH * 72 + 1
    assert svg == _draw(nodes, edges)


@pytest.mark.parametrize("name", GRAPHS | SPACES)
def test_texts_lie_in_the_drawing_and_not_on_each_other(name):
    axes = _axes(name)
    boxes = [text.get_window_extent() for text in axes.texts if text.get_text()]
    for box in boxes:
        assert axes.bbox.x0 <= box.x0 < box.x1 <= axes.bbox.x1
        assert axes.bbox.y0 <= box.y0 < box.y1 <= axes.bbox.y1
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other)


@pytest.mark.parametrize("name", ["crossed in the middle", "genotype", *SPACES])
def test_no_arc_passes_behind_the_label_of_another(name):
    axes = _axes(name)
    arrows = [
        arrow.get_transform().transform_path(arrow.get_path()).to_polygons(closed_only=False)
        for arrow in axes.patches
        if isinstance(arrow, FancyArrowPatch)
    ]
    for label in axes.texts:
        if label.get_bbox_patch():  # it is on an arc
            box = label.get_window_extent()
            touching = [
                parts
                for parts in arrows
                if any(Path(part).intersects_bbox(box, filled=False) for part in parts)
            ]
            assert len(touching) == 1


def test_cells_are_drawn_in_order_with_their_titles():
    texts = _texts(_draw(GENOTYPE, GENOTYPE_EDGES))
    titles = [text for text in texts if text in ("normal", "reduce")]
    assert titles == ["normal", "reduce"]
    assert texts.index("normal") < texts.index("sep") < texts.index("reduce") < texts.index("dil")


def test_rows_of_a_chain_are_drawn_in_order():
    texts = _texts(_draw(*GRAPHS["chain"]))
    first_of_row = [texts.index(f"node {i}") for i in (1, 6, 11, 16, 21)]
    assert first_of_row == sorted(first_of_row)


def test_colours_are_the_same_in_any_order():
    ops = ["skip_connect", "none", "max_pool_3x3", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3"]
    ops += ["dil_conv_5x5", "avg_pool_3x3", "concat"]
    table = colours.of_ops(ops)
    assert table == colours.of_ops([*reversed(ops), "concat"])
    assert len(set(table.values())) == len(ops)
