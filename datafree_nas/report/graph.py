"""An architecture as a drawing: a directed acyclic graph from left to right."""

import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from datafree_nas.report import arcs, dot
from datafree_nas.report.colours import NONE
from datafree_nas.report.rows import Edge, rows


def network(
    name: str, nodes: Sequence[str], edges: Sequence[Edge], colours: Mapping[str, str]
) -> str:
    """Inline SVG, by Graphviz's `dot` where that is installed, else by matplotlib.

    Args:
        name: of the figure; no other on the page may have it.
        nodes: names in topological order.
        edges: from, to, op.
        colours: by op.
    """
    parts = rows(nodes, edges)
    if shutil.which("dot"):
        return dot.network(parts, colours)
    return arcs.network(name, parts, colours)


def left_out(graph: dict[str, Any]) -> list[str]:
    """The edges that are not drawn, as `from → to`.

    Args:
        graph: `nodes` (names) and `edges` (from, to, op).
    """
    nodes = graph["nodes"]
    return [f"{nodes[a]} → {nodes[b]}" for a, b, op in graph["edges"] if op == NONE]
