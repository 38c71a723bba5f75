"""What the stages left in a workdir; a stage that was not run left nothing."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import read_json, read_jsonl

Row = dict[str, Any]
Rows = list[Row]

_Types = type | tuple[type, ...]
_NUMBER: _Types = (int, float)
_PERHAPS: _Types = (int, float, type(None))
_SCORED: dict[str, _Types] = {"architecture": str, "macs": _NUMBER, "score": _PERHAPS}
_FOUND: dict[str, _Types] = {
    **_SCORED,
    **dict.fromkeys(("space", "strategy", "data"), str),
    **dict.fromkeys(("params", "evaluated", "seed"), _NUMBER),
    **dict.fromkeys(("agreement", "kl", "correlation", "max_macs"), _PERHAPS),
    "scored_by": (str, type(None)),
    "graph": dict,
}


@dataclass(frozen=True)
class Artifacts:
    """The artifacts of one workdir, as they were written.

    Attributes:
        teacher: `teacher.json`.
        images: `data.json`: which natural images are read, and the class of every name.
        teacher_metrics: empty unless the teacher was trained here.
        curves: by round, the loss curve of every batch.
        rounds: one row of measurements for each round of synthesis.
        grid: a PNG file's content.
        search_metrics: of all phases of the search.
        probabilities: of every op at every position over the search; `None` where a strategy has
            none.
        history: every evaluated architecture, in order.
        architecture: the one that was found.
        results: by folder, that of every trained network, sorted by `order`; the teacher's is
            `teacher`, that of the student which saw synthetic images alone is `synthetic`.
        training: by folder, the metrics of the same.
    """

    teacher: Row | None
    images: Row | None
    teacher_metrics: Rows
    curves: dict[int, list[Rows]]
    rounds: Rows
    grid: bytes | None
    search_metrics: Rows
    probabilities: Row | None
    history: Rows
    architecture: Row | None
    results: dict[str, Row]
    training: dict[str, Rows]


def read(workdir: Path) -> Artifacts:
    """Reads what is there.

    Args:
        workdir: of the run; nothing below it need exist.

    Raises:
        UserError: a file is there and is no JSON; or fields of the search's files are missing or
            not of their type, or students are of another architecture.
    """
    grid = workdir / "synthetic" / "grid.png"
    students = workdir / "student"
    files = sorted(students.glob("*/result.json"))
    found = {file.parent.name: read_json(file) for file in files}
    results = dict(sorted(found.items(), key=lambda item: item[1]["order"]))
    architecture = _found(workdir / "search" / "architecture.json")
    if architecture:
        _check_students(students, results, architecture["architecture"])
    return Artifacts(
        teacher=_json(workdir / "teacher" / "teacher.json"),
        images=_json(workdir / "data.json"),
        teacher_metrics=read_jsonl(workdir / "teacher" / "metrics.jsonl"),
        curves=_curves(workdir / "synthetic" / "units"),
        rounds=_json(workdir / "synthetic" / "rounds.json") or [],
        grid=grid.read_bytes() if grid.exists() else None,
        search_metrics=read_jsonl(workdir / "search" / "metrics.jsonl"),
        probabilities=_json(workdir / "search" / "probabilities.json"),
        history=_history(workdir / "search" / "history.jsonl"),
        architecture=architecture,
        results=results,
        training={folder: read_jsonl(students / folder / "metrics.jsonl") for folder in results},
    )


def _json(path: Path) -> Any:
    return read_json(path) if path.exists() else None


def _searched(read: Callable[[Path], Any], path: Path) -> Any:
    """What is in a file of the search."""
    try:
        return read(path)
    except UserError as error:
        raise UserError(f"{error}; {_mend(path)}") from None


def _history(path: Path) -> Rows:
    rows: Rows = _searched(read_jsonl, path)
    for number, row in enumerate(rows, start=1):
        _check(row, _SCORED, f"{path}, line {number}", path)
    return rows


def _found(path: Path) -> Row | None:
    if not path.exists():
        return None
    found = _searched(read_json, path)
    _check(found, _FOUND, str(path), path)
    match found["graph"]:
        case {"nodes": [*nodes], "edges": [*edges]} if all(
            isinstance(name, str) for name in nodes
        ) and all(_is_edge(edge, len(nodes)) for edge in edges):
            return dict(found)
    raise UserError(f"{path}: 'graph' is no graph; {_mend(path)}")


def _check_students(directory: Path, results: dict[str, Row], architecture: str) -> None:
    """Refuses students of another architecture than that of which the page tells."""
    for folder, row in results.items():
        if row["name"] == "student" and row.get("architecture", architecture) != architecture:
            raise UserError(
                f"{directory / folder} is a student of {row['architecture']}, but the search has "
                f"found {architecture}: one of them was edited or is of another run; remove "
                f"{directory} and run the stages train and report again"
            )


def _is_edge(edge: Any, nodes: int) -> bool:
    match edge:
        case [int(start), int(end), str()]:
            return 0 <= start < end < nodes
    return False


def _check(row: Any, fields: dict[str, _Types], place: str, path: Path) -> None:
    """Refuses a row that was edited or damaged."""
    if not isinstance(row, dict):
        raise UserError(f"{place} is a {type(row).__name__}, not an object; {_mend(path)}")
    for field, types in fields.items():
        if field not in row:
            raise UserError(f"{place} has no field {field!r}; {_mend(path)}")
        if not isinstance(row[field], types) or isinstance(row[field], bool):
            kind = type(row[field]).__name__
            raise UserError(f"{place}: {field!r} has a value of type {kind}; {_mend(path)}")


def _mend(path: Path) -> str:
    return f"restore the file, or remove {path.parent} and run the search again"


def _curves(units: Path) -> dict[int, list[Rows]]:
    by_round = defaultdict(list)
    for file in sorted(units.glob("round-*-batch-*.json")):
        unit = read_json(file)
        by_round[unit["round"]].append(unit["curves"])
    return dict(sorted(by_round.items()))
