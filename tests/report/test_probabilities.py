"""The probability of every op over a search."""

import numpy as np
import pytest

from datafree_nas.report import colours
from datafree_nas.report.probabilities import probabilities

OPS = ["conv", "skip", "none"]
COLOURS = colours.of_ops(OPS)
paint = probabilities.__wrapped__  # returns the figure instead of SVG


def _recorded(positions, steps=(0, 500)):
    """Returns probabilities that are 1 / 3 at first; then that of `conv` grows."""
    values = [
        [[(1 + i) / (3 + i), 1 / (3 + i), 1 / (3 + i)]] * positions for i in range(len(steps))
    ]
    names = [f"block {i}" for i in range(positions)]
    return {"steps": list(steps), "ops": OPS, "positions": names, "values": values}


def _panels(figure):
    return [axes for axes in figure.axes if axes.axison]


def test_a_panel_holds_the_lines_of_its_position():
    recorded = _recorded(2)
    recorded["values"] = [[[0.5, 0.25, 0.25], [0.4, 0.6, 0]], [[0.75, 0.25, 0], [0.9, 0.1, 0]]]
    first, second = _panels(paint(recorded, COLOURS))
    assert (first.get_title(), second.get_title()) == ("block 0", "block 1")
    for op, line in zip(OPS, first.lines, strict=True):
        assert line.get_color() == COLOURS[op]
        assert list(line.get_xdata()) == [0, 500]
    assert [list(line.get_ydata()) for line in first.lines] == [[0.5, 0.75], [0.25] * 2, [0.25, 0]]
    assert list(second.lines[1].get_ydata()) == [0.6, 0.1]
    assert np.isnan(second.lines[2].get_ydata()).all()  # the second position has no `none`


def test_the_legend_names_every_op_once_though_the_first_position_lacks_one():
    recorded = _recorded(2)
    recorded["values"] = [[[0.5, 0.5, 0], [0.25, 0.25, 0.5]]] * 2
    (legend,) = paint(recorded, COLOURS).legends
    assert [text.get_text() for text in legend.get_texts()] == OPS
    assert [line.get_color() for line in legend.get_lines()] == [COLOURS[op] for op in OPS]


@pytest.mark.parametrize(
    ("positions", "columns"), [(1, 4), (6, 6), (8, 4), (14, 7), (20, 5), (21, 7), (28, 7)]
)
def test_panels_share_their_axes_and_fill_the_page(positions, columns):
    figure = paint(_recorded(positions), COLOURS)
    panels = _panels(figure)
    assert len(panels) == positions
    assert panels[0].get_subplotspec().get_gridspec().ncols == columns
    assert len({panel.get_ylim() for panel in panels}) == 1
    assert len({panel.get_xlim() for panel in panels}) == 1
    assert panels[0].get_ylim()[0] == 0


def test_every_column_has_its_steps_below():
    panels = _panels(paint(_recorded(11), COLOURS))  # the last place of two rows is empty
    shown = [panel.xaxis.get_tick_params()["labelbottom"] for panel in panels]
    assert shown == [False] * 5 + [True] * 6


def test_the_drawing_is_the_same_each_time():
    svg = [probabilities("name", _recorded(3), COLOURS) for _ in range(2)]
    assert svg[0] == svg[1]
    assert svg[0].count(">block ") == 3
