"""An architecture drawn by matplotlib: nodes on a line, edges as arrows and arcs.

Lengths are in inches unless stated otherwise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from datafree_nas.report.colours import NONE
from datafree_nas.report.rows import Edge, Row
from datafree_nas.report.svg import PALE, PAPER, WIDTH, drawn

BOX = (0.62, 0.36)  # width and height of a node
SIDE = BOX[0] / 2 + 0.03  # from the middle of the outermost node to the border of the drawing
STEP = 2.5  # between the middles of neighbours; less if the longest row would not fit
MARGIN = 0.3  # above and below a row
TITLE = 0.3  # height of a title
LEAN = 0.06  # from the middle of a node to the end of a longer arc, in steps


@drawn
def network(rows: Sequence[Row], colours: Mapping[str, str]) -> Figure:
    """Draws rows of nodes; neighbours are joined by straight arrows, others by arcs.

    Args:
        rows: rows of the drawing from top to bottom.
        colours: colour of each op.
    """
    rows = [replace(row, edges=[edge for edge in row.edges if edge[2] != NONE]) for row in rows]
    longest = max(len(row.nodes) for row in rows)
    step = min(STEP, (WIDTH - 2 * SIDE) / (longest - 1)) if longest > 1 else STEP
    extents = [_extent(row, step) for row in rows]
    width, height = step * (longest - 1) + 2 * SIDE, sum(low + high for low, high in extents)
    figure = Figure(figsize=(width, height))
    figure.set_layout_engine("none")  # one unit of the axes must be one inch
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-SIDE, width - SIDE), ylim=(-height, 0))
    axes.set_axis_off()
    top = 0.0
    for row, (low, high) in zip(rows, extents, strict=True):
        axes.text(-SIDE, top, row.title, va="top", fontsize=11)
        _row(axes, row, top - high, step, colours)
        top -= low + high
    return figure


def _extent(row: Row, step: float) -> tuple[float, float]:
    """Returns how far a row reaches below and above its line."""
    tops = [
        _apex(edge, bend, step) for edge, bend in zip(row.edges, _bends(row.edges), strict=True)
    ]
    title = TITLE if row.title else 0.0
    return MARGIN - min([0.0, *tops]), MARGIN + max([0.0, *tops]) + title


def _row(axes: Axes, row: Row, y: float, step: float, colours: Mapping[str, str]) -> None:
    boxes = [_box(axes, step * i, y, name) for i, name in enumerate(row.nodes)]
    for edge, bend in zip(row.edges, _bends(row.edges), strict=True):
        start, end = (step * x for x in _ends(edge))
        colour = colours[edge[2]]
        arrow = FancyArrowPatch(
            (start, y),
            (end, y),
            connectionstyle=f"arc3,rad={-bend}",
            arrowstyle="-|>",
            mutation_scale=13,
            patchA=boxes[edge[0]],
            patchB=boxes[edge[1]],
            shrinkA=0,
            shrinkB=2,
            color=colour,
            linewidth=1.8,
        )
        axes.add_patch(arrow)
        _label(axes, edge[2], (start + end) / 2, y + _apex(edge, bend, step), bend, colour)


def _bends(edges: Sequence[Edge]) -> list[float]:
    """Returns how strongly each edge bends, as a share of its length; positive above the line.

    Straight arrows have 0. Each arc is on the side of the line where it crosses fewer other arcs.
    """
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
        bend[i] = (0.2 + 0.05 * (end - start)) * min(crowd, key=lambda side: crowd[side])
    return [bend[i] for i in range(len(edges))]


def _ends(edge: Edge) -> tuple[float, float]:
    """Returns where an edge starts and ends, in steps.

    Longer arcs start further left and end further right, so that no arc lies on another.
    """
    start, end, _ = edge
    lean = LEAN * min(end - start - 2, 2) if end - start > 1 else 0.0
    return start - lean, end + lean


def _apex(edge: Edge, bend: float, step: float) -> float:
    """Returns the height of an arc: half the height of the control point of its Bézier curve."""
    start, end = _ends(edge)
    return step * bend * (end - start) / 2


def _box(axes: Axes, x: float, y: float, name: str) -> FancyBboxPatch:
    width, height = BOX
    box = FancyBboxPatch(
        (x - width / 2, y - height / 2),
        width,
        height,
        boxstyle="round,pad=0,rounding_size=0.1",
        facecolor=PAPER,
        edgecolor=PALE,
        zorder=3,
    )
    axes.add_patch(box)
    axes.text(x, y, name, ha="center", va="center", zorder=4)
    return box


def _label(axes: Axes, op: str, x: float, y: float, bend: float, colour: str) -> None:
    """Writes the op of an edge on an arc's line, or above a straight arrow, which may be short."""
    if bend:
        ground = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        axes.text(x, y, op, ha="center", va="center", size=8, color=colour, bbox=ground, zorder=2)
    else:
        axes.text(x, y + 0.04, op, ha="center", va="bottom", size=8, color=colour)
