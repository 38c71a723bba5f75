"""An architecture as a drawing: nodes on lines, edges as straight arrows and arcs.

Lengths are in inches unless stated otherwise.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from datafree_nas.report.colours import NONE
from datafree_nas.report.graph_rows import Edge, GraphRow, rows
from datafree_nas.report.svg import PALE, PAPER, WIDTH, drawn

BOX = (0.62, 0.36)  # width and height of a node
SIDE = BOX[0] / 2 + 0.03  # from the middle of the outermost node to the border of the drawing
STEP = 2.5  # between the middles of neighbours; less if the longest row would not fit
MARGIN = 0.3  # above and below a row
TITLE = 0.3  # height of a title
LEAN = 0.06  # from the middle of a node to the end of a longer arc, in steps
LETTER = (0.07, 0.14)  # width and height of a letter of a label
PLACES = (0.5, 0.4, 0.6, 0.3, 0.7)  # where a label may be, as a share of its arc's width


class _Arrow(NamedTuple):
    """An edge as it is drawn: a straight line or a quadratic Bézier curve.

    Attributes:
        start: distance of the arrow's tail from the first node.
        end: distance of the arrow's head from the first node.
        bend: height of the control point as a share of the width; positive above the line of nodes,
            0 for a straight arrow.
        edge: start, end and op of the edge; indices of nodes.
    """

    start: float
    end: float
    bend: float
    edge: Edge

    def x(self, share: float) -> float:
        """Returns the place after a share of the arrow's width."""
        return self.start + share * (self.end - self.start)

    def height(self, x: float) -> float:
        """Returns the height above the line of nodes at a place; 0 left and right of the arrow."""
        share = min(max((x - self.start) / (self.end - self.start), 0.0), 1.0)
        return 2 * share * (1 - share) * self.bend * (self.end - self.start)


@drawn
def network(nodes: Sequence[str], edges: Sequence[Edge], colours: Mapping[str, str]) -> Figure:
    """Draws an architecture; neighbours are joined by straight arrows, other nodes by arcs.

    Args:
        nodes: names of the nodes in topological order.
        edges: start, end and op of each edge; indices into `nodes`.
        colours: colour of each op.
    """
    parts = rows(nodes, edges)
    longest = max(len(row.nodes) for row in parts)
    step = min(STEP, (WIDTH - 2 * SIDE) / (longest - 1)) if longest > 1 else STEP
    arrows = [_arrows(row.edges, step) for row in parts]
    extents = [_extent(of_row) for of_row in arrows]
    titles = [TITLE if row.title else 0.0 for row in parts]
    width = step * (longest - 1) + 2 * SIDE
    height = sum(titles) + sum(low + high for low, high in extents)
    figure = Figure(figsize=(width, height))
    figure.set_layout_engine("none")  # one unit of the axes must be one inch
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-SIDE, width - SIDE), ylim=(-height, 0))
    axes.set_axis_off()
    top = 0.0
    for row, of_row, title, (low, high) in zip(parts, arrows, titles, extents, strict=True):
        axes.text(-SIDE, top, row.title, va="top", fontsize=11)
        _draw_row(axes, row, of_row, top - title - high, step, colours)
        top -= title + high + low
    return figure


def left_out(graph: dict[str, Any]) -> list[str]:
    """Lists the edges that are not drawn because their op is `none`, as `from → to`.

    Args:
        graph: `nodes` (names) and `edges` (start, end, op).
    """
    nodes = graph["nodes"]
    return [f"{nodes[a]} → {nodes[b]}" for a, b, op in graph["edges"] if op == NONE]


def _arrows(edges: Sequence[Edge], step: float) -> list[_Arrow]:
    """Returns an arrow for each edge whose op is not `none`.

    Each arc is on the side of the line where it crosses fewer of the shorter arcs. Longer arcs
    start further left and end further right, so that no arc lies on another.
    """
    arrows: list[_Arrow] = []
    for edge in sorted(edges, key=lambda edge: edge[1] - edge[0]):
        start, end, op = edge
        length, bend, lean = end - start, 0.0, 0.0
        if op == NONE:
            continue
        if length > 1:
            lean = LEAN * min(length - 2, 2)
            side = min((1, -1), key=lambda side: _crossings(edge, side, arrows))
            bend = side * (0.2 + 0.05 * length)
        arrows.append(_Arrow(step * (start - lean), step * (end + lean), bend, edge))
    return arrows


def _crossings(edge: Edge, side: int, arrows: Sequence[_Arrow]) -> int:
    """Counts the arcs above (side 1) or below the line (side -1) that an arc would cross there."""
    start, end, _ = edge
    others = [arrow.edge for arrow in arrows if arrow.bend * side > 0]
    return sum(a < start < b < end or start < a < end < b for a, b, _ in others)


def _extent(arrows: Sequence[_Arrow]) -> tuple[float, float]:
    """Returns how far a row reaches below and above its line of nodes."""
    tops = [0.0, *(arrow.height(arrow.x(0.5)) for arrow in arrows)]
    return MARGIN - min(tops), MARGIN + max(tops)


def _draw_row(
    axes: Axes,
    row: GraphRow,
    arrows: Sequence[_Arrow],
    y: float,
    step: float,
    colours: Mapping[str, str],
) -> None:
    boxes = [_draw_box(axes, step * i, y, name) for i, name in enumerate(row.nodes)]
    for arrow in arrows:
        start, end, op = arrow.edge
        patch = FancyArrowPatch(
            (arrow.start, y),
            (arrow.end, y),
            connectionstyle=f"arc3,rad={-arrow.bend}",
            arrowstyle="-|>",
            mutation_scale=13,
            patchA=boxes[start],
            patchB=boxes[end],
            shrinkA=0,
            shrinkB=2,
            color=colours[op],
            linewidth=1.8,
        )
        axes.add_patch(patch)
        x = _label_place(arrow, arrows)
        _draw_label(axes, op, x, y + arrow.height(x), bool(arrow.bend), colours[op])


def _label_place(arrow: _Arrow, arrows: Sequence[_Arrow]) -> float:
    """Returns where along an arrow its label is written: in the middle if no arc is in the way."""
    if not arrow.bend:
        return arrow.x(0.5)  # the line is too short for another place
    arcs = [other for other in arrows if other.bend and other is not arrow]
    free = (arrow.x(share) for share in PLACES if not _is_crossed(arrow, arrow.x(share), arcs))
    return next(free, arrow.x(0.5))


def _is_crossed(arrow: _Arrow, x: float, arcs: Sequence[_Arrow]) -> bool:
    """Tells whether an arc would pass through or close to the label of an arrow."""
    y, half = arrow.height(x), LETTER[0] * len(arrow.edge[2]) / 2
    for arc in arcs:
        heights = [arc.height(x + half * share) for share in (-1, -0.5, 0, 0.5, 1)]
        if min(heights) < y + LETTER[1] and max(heights) > y - LETTER[1]:
            return True
    return False


def _draw_box(axes: Axes, x: float, y: float, name: str) -> FancyBboxPatch:
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


def _draw_label(axes: Axes, op: str, x: float, y: float, on_line: bool, colour: str) -> None:
    """Writes the op of an edge on an arc's line, or above a straight arrow, which may be short."""
    if on_line:
        ground = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        axes.text(x, y, op, ha="center", va="center", size=8, color=colour, bbox=ground, zorder=2)
    else:
        axes.text(x, y + 0.04, op, ha="center", va="bottom", size=8, color=colour)
