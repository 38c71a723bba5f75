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
    """Draws an architecture as inline SVG, by Graphviz if `dot` is installed, else by matplotlib.

    Args:
        name: name of the figure, different from those of all others on the page.
        nodes: names of the nodes in topological order.
        edges: start, end and op of each edge; indices into `nodes`.
        colours: colour of each op.
    """
    parts = rows(nodes, edges)
    if shutil.which("dot"):
        return dot.network(parts, colours)
    return arcs.network(name, parts, colours)


def left_out(graph: dict[str, Any]) -> list[str]:
    """Lists the edges that are not drawn because their op is `none`, as `from → to`.

    Args:
        graph: `nodes` (names) and `edges` (start, end, op).
    """
    nodes = graph["nodes"]
    return [f"{nodes[a]} → {nodes[b]}" for a, b, op in graph["edges"] if op == NONE]
