"""The files that the stages wrote into a workdir; a stage that was not run wrote none."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datafree_nas.runtime import records
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.records import Record
from datafree_nas.runtime.workdir import RESULT, Workdir

JsonObject = dict[str, Any]
JsonList = list[JsonObject]


@dataclass(frozen=True)
class Artifacts:
    """The contents of the files of a workdir; empty or `None` for a stage that was not run.

    Attributes:
        teacher: content of `teacher.json`.
        images: content of `data.json`: source and number of natural images, class of each name.
        teacher_metrics: metrics of the teacher's training; empty if it was not trained here.
        curves: loss curve of each batch of synthesis, by round.
        rounds: measurements of each round of synthesis.
        grid: content of `grid.png`, samples of the synthetic images.
        search_metrics: metrics of all phases of the search.
        probabilities: probability of each op at each position during the search; `None` if the
            strategy has no probabilities.
        history: every evaluated architecture with its score, in order of evaluation.
        architecture: content of `architecture.json`, the architecture that was found or given.
        results: result of each trained network by its folder, sorted by `order`, and then by the
            number at the end of the folder's name. The folder of the teacher is `teacher`, that of
            the student trained on synthetic images is `synthetic`; those of other sizes, from the
            Pareto front, begin with `family_`.
        training: training metrics of each trained network by its folder.
    """

    teacher: JsonObject | None
    images: JsonObject | None
    teacher_metrics: JsonList
    curves: dict[int, list[JsonList]]
    rounds: JsonList
    grid: bytes | None
    search_metrics: JsonList
    probabilities: JsonObject | None
    history: JsonList
    architecture: JsonObject | None
    results: dict[str, JsonObject]
    training: dict[str, JsonList]


def read(workdir: Path) -> Artifacts:
    """Reads those files that exist.

    Args:
        workdir: folder of the run; it may be empty.

    Raises:
        UserError: a file is damaged, a field is missing or has a value that it may not have, or
            students have another architecture than the one that was found.
    """
    paths = Workdir(workdir)
    files = sorted(paths.students.glob(f"*/{RESULT}"))
    found = {file.parent.name: records.read(file, records.RESULT) for file in files}
    results = dict(sorted(found.items(), key=lambda item: (item[1]["order"], _number(item[0]))))
    architecture = _found(paths.architecture)
    history = records.read_lines(paths.history, records.SCORED)
    if architecture:
        _check_costs(paths.architecture, architecture, history)
        _check_students(paths.students, results, architecture["architecture"])
    again = f"remove {paths.images} and run the same command again"
    return Artifacts(
        teacher=_read(paths.card, records.CARD),
        images=_read(paths.images, records.IMAGES, again),
        teacher_metrics=_metrics(paths.teacher),
        curves=_curves(paths.units),
        rounds=records.read_list(paths.rounds, records.ROUND) if paths.rounds.exists() else [],
        grid=paths.grid.read_bytes() if paths.grid.exists() else None,
        search_metrics=_metrics(paths.search),
        probabilities=_probabilities(paths.probabilities),
        history=history,
        architecture=architecture,
        results=results,
        training={folder: _metrics(paths.students / folder) for folder in results},
    )


def _read(path: Path, record: Record, advice: str = "") -> JsonObject | None:
    return records.read(path, record, advice) if path.exists() else None


def _metrics(directory: Path) -> JsonList:
    return records.read_lines(directory / "metrics.jsonl", records.METRICS)


def _probabilities(path: Path) -> JsonObject | None:
    found = _read(path, records.PROBABILITIES)
    if found is None:
        return None
    shape = tuple(len(found[name]) for name in ("steps", "positions", "ops"))
    try:
        fits = np.shape(found["values"]) == shape
    except ValueError:  # lists of different lengths
        fits = False
    if not fits:
        raise UserError(f"{path}: 'values' are not of shape {shape}; {records.made_again(path)}")
    return found


def _found(path: Path) -> JsonObject | None:
    found = _read(path, records.FOUND)
    if found is None:
        return None
    nodes, edges = found["graph"]["nodes"], found["graph"]["edges"]
    if not nodes or not all(_is_edge(edge, len(nodes)) for edge in edges):
        raise UserError(f"{path}: 'graph' is no graph; {records.made_again(path)}")
    return found


def _check_students(directory: Path, results: dict[str, JsonObject], architecture: str) -> None:
    """Refuses students of another architecture than the one that was found or given."""
    for folder, row in results.items():
        if row["name"] == "student" and row.get("architecture", architecture) != architecture:
            raise UserError(
                f"{directory / folder} is a student of {row['architecture']}, but the search has "
                f"found {architecture}: one of them was edited or is of another run; remove "
                f"{directory} and run the stages train and report again"
            )


def _check_costs(path: Path, found: JsonObject, history: JsonList) -> None:
    """Checks that every architecture has the cost by which the Pareto front was found."""
    name = found.get("front_cost", "macs")
    for row in (found, *found.get("front", ()), *history):
        if not isinstance(row.get(name), int | float):
            raise UserError(
                f"{path}: the front's cost is {name!r}, which the row of {row['architecture']} "
                f"lacks; {records.made_again(path)}"
            )


def _number(folder: str) -> int:
    """Returns the number at the end of a folder's name, 0 where it has none."""
    end = folder.rpartition("_")[2]
    return int(end) if end.isdecimal() else 0


def _is_edge(edge: Any, nodes: int) -> bool:
    match edge:
        case [int(start), int(end), str()]:
            return 0 <= start < end < nodes
    return False


def _curves(units: Path) -> dict[int, list[JsonList]]:
    by_round = defaultdict(list)
    for file in sorted(units.glob("round-*-batch-*.json")):
        unit = records.read(file, records.UNIT)
        by_round[unit["round"]].append(unit["curves"])
    return dict(sorted(by_round.items()))
