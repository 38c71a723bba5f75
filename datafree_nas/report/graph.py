"""An architecture as a drawing: a directed acyclic graph from left to right."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from datafree_nas.report.svg import PALE, drawn

NONE = "none"  # the op that passes nothing on: its edges are not drawn
COLOURS = ("#2563eb", "#c2410c", "#15803d", "#7c3aed", "#0e7490", "#be185d", "#475569", "#78350f")
BOX = (0.36, 0.2)  # width and height of a node, where neighbours are 1 apart
MARGIN = 0.2  # above and below
LEAN = 0.06  # how far an arc's ends are from the middle of a node
Edge = Sequence[Any]  # from, to, op; a list, as JSON gives it


@drawn
def network(nodes: Sequence[str], edges: Sequence[Edge]) -> Figure:
    """Nodes on a line; neighbours joined by straight arrows, others by arcs.

    Args:
        nodes: names in topological order.
        edges: from, to, op.
    """
    edges = [edge for edge in edges if edge[2] != NONE]
    bends = _bends(edges)
    tops = [_apex(edge, bend) for edge, bend in zip(edges, bends, strict=True)]
    low, high = min([0.0, *tops]) - MARGIN, max([0.0, *tops]) + MARGIN
    scale = 2.5 if len(nodes) <= 5 else 1.9  # inches between neighbours
    figure = Figure(figsize=(scale * (len(nodes) - 0.4), scale * (high - low) + 0.4))
    axes = figure.subplots()
    axes.set(xlim=(-0.3, len(nodes) - 0.7), ylim=(low, high), aspect="equal")
    axes.set_axis_off()
    boxes = [_box(axes, i, name) for i, name in enumerate(nodes)]
    ops = list(dict.fromkeys(op for _, _, op in edges))
    colour = {op: COLOURS[i % len(COLOURS)] for i, op in enumerate(ops)}
    for edge, bend in zip(edges, bends, strict=True):
        _arrow(axes, edge, bend, boxes, colour[edge[2]])
    lines = [Line2D([], [], color=colour[op], linewidth=2, label=op) for op in ops]
    figure.legend(handles=lines, loc="outside lower center", ncols=5)
    return figure


def left_out(graph: dict[str, Any]) -> list[str]:
    """The edges that are not drawn, as `from → to`.

    Args:
        graph: `nodes` (names) and `edges` (from, to, op).
    """
    nodes = graph["nodes"]
    return [f"{nodes[a]} → {nodes[b]}" for a, b, op in graph["edges"] if op == NONE]


def _bends(edges: Sequence[Edge]) -> list[float]:
    """How far each arc leaves the line: above if positive, on the side where it crosses fewer."""
    bend: dict[int, float] = {}
    for i in sorted(range(len(edges)), key=lambda i: edges[i][1] - edges[i][0]):
        start, end, _ = edges[i]
        if end - start == 1:
            bend[i] = 0.0
            continue
        crowd = {1: 0, -1: 0}
        for other, height in bend.items():
            a, b, _ = edges[other]
            if height and (a < start < b < end or start < a < end < b):
                crowd[1 if height > 0 else -1] += 1
        bend[i] = (0.3 + 0.07 * (end - start)) * min(crowd, key=lambda side: crowd[side])
    return [bend[i] for i in range(len(edges))]


def _ends(edge: Edge) -> tuple[float, float]:
    """Where an edge leaves and arrives: longer arcs further out, so that none lies on another."""
    start, end, _ = edge
    lean = LEAN * min(end - start - 2, 2) if end - start > 1 else 0.0
    return start - lean, end + lean


def _apex(edge: Edge, bend: float) -> float:
    """The height of an arc: half that of the control point of its quadratic Bézier curve."""
    start, end = _ends(edge)
    return bend * (end - start) / 2


def _box(axes: Axes, x: int, name: str) -> FancyBboxPatch:
    width, height = BOX
    box = FancyBboxPatch(
        (x - width / 2, -height / 2),
        width,
        height,
        boxstyle="round,pad=0,rounding_size=0.06",
        facecolor="#f3f4f6",
        edgecolor=PALE,
        zorder=3,
    )
    axes.add_patch(box)
    axes.text(x, 0, name, ha="center", va="center", fontsize=10, zorder=4)
    return box


def _arrow(
    axes: Axes, edge: Edge, bend: float, boxes: Sequence[FancyBboxPatch], colour: str
) -> None:
    source, target, op = edge
    start, end = _ends(edge)
    arrow = FancyArrowPatch(
        (start, 0),
        (end, 0),
        connectionstyle=f"arc3,rad={-bend}",
        arrowstyle="-|>",
        mutation_scale=13,
        patchA=boxes[source],
        patchB=boxes[target],
        shrinkA=0,
        shrinkB=2,
        color=colour,
        linewidth=1.8,
    )
    axes.add_patch(arrow)
    label = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
    middle, height = (start + end) / 2, _apex(edge, bend)
    axes.text(middle, height, op, ha="center", va="center", color=colour, bbox=label, zorder=2)
