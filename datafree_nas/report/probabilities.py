"""A figure of the probability of each op at each position over a search."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from datafree_nas.report.artifacts import JsonObject
from datafree_nas.report.figures import legend, panel_grid
from datafree_nas.report.svg import drawn

# numbers of columns to choose from: the first that leaves the fewest places empty is taken
COLUMNS = (7, 6, 5, 4)


@drawn
def probabilities(recorded: JsonObject, colours: Mapping[str, str]) -> Figure:
    """Draws a panel for each position, with a line for each op; lines show small differences.

    Args:
        recorded: `steps`, names of `ops` and `positions`, and `values` [steps positions ops] in
            [0, 1]. An op that a position lacks is 0 at all steps; it gets no line.
        colours: colour of each op.
    """
    values = np.array(recorded["values"], dtype=float)
    values[:, ~values.any(axis=0)] = np.nan
    count = len(recorded["positions"])
    columns = min(COLUMNS, key=lambda columns: -count % columns)
    figure, grid = panel_grid(count, columns, 1.25, shared=True)
    for i, name in enumerate(recorded["positions"]):
        for op, line in zip(recorded["ops"], values[:, i].T, strict=True):
            grid[i].plot(recorded["steps"], line, color=colours[op], label=op)
        grid[i].set_title(name, fontsize=8)
        grid[i].tick_params(labelbottom=i >= count - columns)  # the lowest of its column
    grid[0].set_ylim(bottom=0)
    grid[0].xaxis.set_major_formatter(EngFormatter())
    legend(figure, grid[0])
    return figure
