"""The figures of the report that have axes."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, PercentFormatter

from datafree_nas.report.artifacts import JsonList, JsonObject
from datafree_nas.report.colours import COLOURS
from datafree_nas.report.summary import is_of_family
from datafree_nas.report.svg import ACCENT, INK, WIDTH, drawn

# letters that fit into a row of a legend, and letters that are as wide as the line beside a name
LETTERS_ACROSS, LETTERS_OF_MARK = 130, 8
DOTS = "#8da2c0"
COST_NAMES = {"macs": "MACs", "params": "weights", "latency_ms": "latency in ms"}
MEASURE_NAMES = {"test_accuracy": "test accuracy", "agreement": "agreement with the teacher"}
LOG_FROM = 30.0  # ratio of largest to smallest value above which an axis is logarithmic


def mean_over_batches(batches: Iterable[JsonList]) -> JsonList:
    """Averages the curves of several batches.

    Args:
        batches: curve of each batch, rows of `step`, `phase` and terms of the loss.

    Returns:
        Rows of `step`, `phase` and the mean of every term at that step, sorted by step.
    """
    by_step = defaultdict(list)
    for rows in batches:
        for row in rows:
            by_step[row["step"]].append(row)
    return [
        {"step": step, "phase": rows[0]["phase"]}
        | {term: fmean(r[term] for r in rows if term in r) for term in _terms(rows)}
        for step, rows in sorted(by_step.items())
    ]


@drawn
def panels(lines: Sequence[tuple[str, JsonList]]) -> Figure:
    """Draws a panel for each term, with a line for each label, over iterations.

    Args:
        lines: label and curve of each line; a curve is rows of `step`, `phase` and terms, and a row
            may lack some of the terms.
    """
    terms = _terms([row for _, rows in lines for row in rows])
    columns = min(len(terms), 3)
    figure, grid = panel_grid(len(terms), columns, 2.1)
    colours = matplotlib.colormaps["plasma"](np.linspace(0.0, 0.8, len(lines)))
    for axes, term in zip(grid, terms, strict=True):
        for (label, rows), colour in zip(lines, colours, strict=True):
            there = [row for row in rows if term in row]
            steps, values = [row["step"] for row in there], [row[term] for row in there]
            axes.plot(steps, values, color=colour, label=label)
        _scale(axes)
        for step in _changes(lines[0][1]):
            axes.axvline(step, color=INK, linewidth=0.7, linestyle=":")
        axes.set_title(term.replace("_", " "))
    if len(lines) > 1:
        legend(figure, grid[0])
    return figure


@drawn
def scores(history: JsonList) -> Figure:
    """Draws the scores in order of evaluation, and the best score so far.

    Args:
        history: rows with `score` in order of evaluation; higher is better.
    """
    order, values = range(1, len(history) + 1), _scores(history)
    best = np.fmax.accumulate(values)
    figure = Figure(figsize=(WIDTH, 2.9))
    axes = figure.subplots()
    axes.plot(order, values, ".", color=DOTS, markersize=4, label="score")
    axes.step(order, best, where="post", color=ACCENT, label="best so far")
    axes.set(xlabel="architectures evaluated", ylabel="score")
    legend(figure, axes)
    return figure


@drawn
def tradeoff(history: JsonList, found: JsonObject) -> Figure:
    """Draws scores against a cost, with Pareto front, found architecture and limit on MACs.

    Args:
        history: rows with `score` and the cost.
        found: content of `architecture.json`: `score` and costs of the architecture that was found;
            `max_macs`, which may be `None`; `front_cost`, the name of the cost, and `front`, rows
            like those of the history by rising cost. Older versions left out the last two, and then
            the cost is `macs` and there is no front.
    """
    figure = Figure(figsize=(WIDTH, 3.3))
    axes = figure.subplots()
    cost = found.get("front_cost", "macs")
    costs = [row[cost] for row in history]
    axes.plot(costs, _scores(history), ".", color=DOTS, markersize=5, label="evaluated")
    if front := found.get("front"):
        ends = [*front, front[-1] | {cost: max(costs)}]  # up to the largest cost
        places = [row[cost] for row in ends]
        axes.step(places, _scores(ends), where="post", color=DOTS, label="Pareto front")
    axes.plot(found[cost], found["score"], "*", color=ACCENT, markersize=12, label="found")
    if found["max_macs"] is not None and cost == "macs":
        axes.axvline(found["max_macs"], color=INK, linewidth=1, linestyle="--", label="limit")
    axes.set(xlabel=COST_NAMES.get(cost, cost), ylabel="score")
    axes.xaxis.set_major_formatter(EngFormatter())
    legend(figure, axes)
    return figure


@drawn
def sizes(results: Mapping[str, JsonObject], cost: str) -> Figure:
    """Draws how good the students of several sizes are, against their cost.

    It is the accuracy on natural test images where it was measured, else its estimate, the
    agreement with the teacher on synthetic images that nothing was trained on.

    Args:
        results: result of each network by its folder; those without the cost are left out.
        cost: name of the cost.
    """
    known = {folder: result for folder, result in results.items() if cost in result}
    tested = known["synthetic"]["test_accuracy"] is not None
    measure = "test_accuracy" if tested else "agreement"
    family = [known["synthetic"], *(each for name, each in known.items() if is_of_family(name))]
    rivals = defaultdict(list)
    for folder, result in known.items():
        if result not in family:
            alone = folder == "teacher"
            rivals["teacher" if alone else f"{result['name']} · {result['data']}"].append(result)
    figure = Figure(figsize=(WIDTH, 3.3))
    axes = figure.subplots()
    others = [colour for colour in COLOURS if colour != ACCENT]
    for (label, rows), colour, mark in zip(rivals.items(), others, "sDv^P<>", strict=False):
        _points(axes, rows, cost, measure, mark, color=colour, linestyle="", label=label)
    _points(axes, family, cost, measure, "o", color=ACCENT, label="students of several sizes")
    _points(axes, family[:1], cost, measure, "*", color=ACCENT, markersize=12, label="the pick")
    axes.set(xlabel=COST_NAMES.get(cost, cost), ylabel=MEASURE_NAMES[measure], xscale="log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    legend(figure, axes)
    return figure


def _points(axes: Axes, rows: JsonList, cost: str, measure: str, mark: str, **style: Any) -> None:
    """Draws one mark for each row whose measure is known, from left to right."""
    points = sorted((row[cost], row[measure]) for row in rows if row.get(measure) is not None)
    axes.plot([x for x, _ in points], [y for _, y in points], marker=mark, **style)


def _terms(rows: JsonList) -> list[str]:
    """Returns the names of the numbers in rows in order of appearance, with the loss first."""
    terms = dict.fromkeys(key for row in rows for key in row if key not in ("step", "phase"))
    return sorted(terms, key=lambda term: term != "loss")


def _changes(rows: JsonList) -> list[int]:
    """Returns the last step of every phase except the last one."""
    return [a["step"] for a, b in pairwise(rows) if a["phase"] != b["phase"]]


def _scale(axes: Axes) -> None:
    """Makes the vertical axis logarithmic if the values of the lines differ much."""
    values = np.concatenate([line.get_ydata() for line in axes.get_lines()])
    if values.min() > 0 and values.max() > LOG_FROM * values.min():
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(lambda y, _: f"{y:g}")


def panel_grid(
    count: int, columns: int, height: float, shared: bool = False
) -> tuple[Figure, list[Axes]]:
    """Makes a figure with a grid of panels, row by row.

    Args:
        count: number of panels; the last places of the grid stay empty.
        columns: number of panels in a row.
        height: height of a panel with its title, in inches.
        shared: true if all panels have the same axes.
    """
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(WIDTH, height * rows + 0.5))  # with a legend
    grid = figure.subplots(rows, columns, squeeze=False, sharex=shared, sharey=shared)
    panels = list(grid.flat)
    for axes in panels[count:]:
        axes.set_axis_off()
    return figure, panels[:count]


def legend(figure: Figure, axes: Axes) -> None:
    """Writes a legend above a figure, with as many names in a row as fit.

    Args:
        figure: figure with a constrained layout.
        axes: panel whose lines are named.
    """
    handles, labels = axes.get_legend_handles_labels()
    columns = int(LETTERS_ACROSS / (max(map(len, labels)) + LETTERS_OF_MARK))
    figure.legend(handles, labels, loc="outside upper left", ncols=max(columns, 1))


def _scores(history: JsonList) -> np.ndarray:
    """Returns the scores in order; matplotlib does not draw those that are not finite."""
    return np.array([row["score"] for row in history], dtype=float)
