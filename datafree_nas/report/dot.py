"""An architecture drawn by Graphviz."""

from collections.abc import Mapping, Sequence

import graphviz

from datafree_nas.report.colours import NONE
from datafree_nas.report.rows import Row
from datafree_nas.report.svg import INK, PALE, PAPER, WIDTH, inline

FONT = "Helvetica,Arial,sans-serif"  # room is measured in it; the page has its own
GRAPH = {
    "rankdir": "LR",
    "bgcolor": "transparent",
    "nodesep": "0.25",
    "ranksep": "0.35",
    "size": f"{WIDTH},100",  # inches, at most: what is wider is made smaller, no height is too much
}
NODE = {"shape": "box", "style": "rounded,filled", "height": "0.3", "fontsize": "10"}
NODE |= {"fillcolor": PAPER, "color": PALE, "fontname": FONT, "fontcolor": INK}
EDGE = {"fontname": FONT, "fontsize": "9", "arrowsize": "0.7", "penwidth": "1.5"}
TITLED = {"labeljust": "l", "fontname": FONT, "fontsize": "11", "fontcolor": INK}
TITLED |= {"style": "rounded", "color": PALE}


def source(rows: Sequence[Row], colours: Mapping[str, str]) -> str:
    """The rows in Graphviz's language.

    Args:
        rows: from top to bottom.
        colours: by op.
    """
    graph = graphviz.Digraph(graph_attr=GRAPH, node_attr=NODE, edge_attr=EDGE)
    for number, row in reversed(list(enumerate(rows))):  # from left to right, dot stacks upwards
        with graph.subgraph(name=f"cluster{number}" if row.title else f"row{number}") as part:
            if row.title:
                part.attr(label=graphviz.escape(row.title), **TITLED)
            for i, name in enumerate(row.nodes):
                part.node(f"{number}.{i}", graphviz.escape(name))
            for start, end, op in row.edges:
                part.edge(f"{number}.{start}", f"{number}.{end}", **_look(op, colours))
    return graph.source


def network(rows: Sequence[Row], colours: Mapping[str, str]) -> str:
    """The rows as inline SVG.

    Args:
        rows: from top to bottom.
        colours: by op.

    Raises:
        graphviz.CalledProcessError: `dot` failed; its words are in the message.
    """
    return inline(graphviz.Source(source(rows, colours)).pipe(format="svg", encoding="utf-8"))


def _look(op: str, colours: Mapping[str, str]) -> dict[str, str]:
    if op == NONE:
        return {"style": "invis"}  # still keeps its ends in order
    label = graphviz.escape(f" {op} ")  # or it touches the line
    return {"label": label, "color": colours[op], "fontcolor": colours[op]}
