"""Architectures as drawings, by Graphviz and by matplotlib."""

import re
from itertools import pairwise

import graphviz
import pytest

from datafree_nas.report import colours, dot, graph
from datafree_nas.report.rows import rows
from datafree_nas.report.svg import WIDTH

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
    "no edge drawn": (["node 0", "node 1"], [[0, 1, "none"]]),
    "one node": (["node 0"], []),
}
each_graph = pytest.mark.parametrize("name", GRAPHS)


def _draw(nodes, edges):
    return graph.network("name", nodes, edges, colours.of_ops([op for _, _, op in edges]))


def _source(nodes, edges):
    return dot.source(rows(nodes, edges), colours.of_ops([op for _, _, op in edges]))


def _texts(svg):
    """The texts of a drawing from top to bottom, as they are read."""
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


def test_dot_source_says_every_edge_once_in_its_colour():
    source = _source(CELL, CELL_EDGES)
    blue, orange = colours.COLOURS[:2]
    assert f'0.0 -> 0.1 [label=" conv " color="{blue}" fontcolor="{blue}"]' in source
    assert f'0.1 -> 0.2 [label=" skip " color="{orange}" fontcolor="{orange}"]' in source
    assert "0.0 -> 0.2 [style=invis]" in source
    assert source.count("->") == len(CELL_EDGES)
    assert "none" not in source
    assert "cluster" not in source


def test_dot_source_has_a_cluster_for_each_cell():
    source = _source(GENOTYPE, GENOTYPE_EDGES)
    assert re.findall(r"subgraph (\w+)", source) == ["cluster1", "cluster0"]
    assert re.findall(r"label=(normal|reduce)\b", source) == ["reduce", "normal"]
    assert source.count('[label="c_{k-1}"]') == 2


def test_names_are_text_to_dot():
    source = _source(["<b>", r"back\n"], [[0, 1, 'quoted " op']])
    assert '[label="<b>"]' in source  # unquoted it would be markup
    assert r'[label="back\\n"]' in source
    assert r'label=" quoted \" op "' in source


@each_graph
def test_every_name_is_drawn_and_fits_the_page(name, either_way):
    nodes, edges = GRAPHS[name]
    svg = _draw(nodes, edges)
    texts = _texts(svg.replace("&#45;", "-"))
    for node in nodes:
        assert node.rpartition("\n")[2] in texts
    for op in {op for _, _, op in edges}:
        assert (op in texts) == (op != "none")
    assert float(re.search(r'<svg[^>]* width="([\d.]*)pt"', svg)[1]) <= WIDTH * 72 + 1
    assert svg == _draw(nodes, edges)


def test_cells_are_drawn_in_order_with_their_titles(either_way):
    texts = _texts(_draw(GENOTYPE, GENOTYPE_EDGES))
    titles = [text for text in texts if text in ("normal", "reduce")]
    assert titles == ["normal", "reduce"]
    assert texts.index("normal") < texts.index("sep") < texts.index("reduce") < texts.index("dil")


def test_rows_of_a_chain_are_drawn_in_order(either_way):
    texts = _texts(_draw(*GRAPHS["chain"]))
    first_of_row = [texts.index(f"node {i}") for i in (1, 6, 11, 16, 21)]
    assert first_of_row == sorted(first_of_row)


def test_a_dot_that_fails_is_an_error(tmp_path, monkeypatch):
    program = tmp_path / "dot"
    program.write_text("#!/bin/sh\nwhile read -r _; do :; done\necho no fonts here >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(graphviz.CalledProcessError, match="no fonts here"):
        _draw(CELL, CELL_EDGES)


def test_colours_are_the_same_in_any_order():
    ops = ["skip_connect", "none", "max_pool_3x3", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3"]
    ops += ["dil_conv_5x5", "avg_pool_3x3", "concat"]
    table = colours.of_ops(ops)
    assert table == colours.of_ops([*reversed(ops), "concat"])
    assert len(set(table.values())) == len(ops)
