"""What the stages left in a workdir; a stage that was not run left nothing."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datafree_nas.runtime.files import read_json, read_jsonl

Row = dict[str, Any]
Rows = list[Row]


@dataclass(frozen=True)
class Artifacts:
    """The artifacts of one workdir, as they were written.

    Attributes:
        teacher: `teacher.json`.
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
        UserError: a file is there and is no JSON.
    """
    grid = workdir / "synthetic" / "grid.png"
    students = workdir / "student"
    files = sorted(students.glob("*/result.json"))
    found = {file.parent.name: read_json(file) for file in files}
    results = dict(sorted(found.items(), key=lambda item: item[1]["order"]))
    return Artifacts(
        teacher=_json(workdir / "teacher" / "teacher.json"),
        teacher_metrics=read_jsonl(workdir / "teacher" / "metrics.jsonl"),
        curves=_curves(workdir / "synthetic" / "units"),
        rounds=_json(workdir / "synthetic" / "rounds.json") or [],
        grid=grid.read_bytes() if grid.exists() else None,
        search_metrics=read_jsonl(workdir / "search" / "metrics.jsonl"),
        probabilities=_json(workdir / "search" / "probabilities.json"),
        history=read_jsonl(workdir / "search" / "history.jsonl"),
        architecture=_json(workdir / "search" / "architecture.json"),
        results=results,
        training={folder: read_jsonl(students / folder / "metrics.jsonl") for folder in results},
    )


def _json(path: Path) -> Any:
    return read_json(path) if path.exists() else None


def _curves(units: Path) -> dict[int, list[Rows]]:
    by_round = defaultdict(list)
    for file in sorted(units.glob("round-*-batch-*.json")):
        unit = read_json(file)
        by_round[unit["round"]].append(unit["curves"])
    return dict(sorted(by_round.items()))
