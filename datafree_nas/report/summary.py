"""The outcome of a run: a few numbers for programs, one sentence for people."""

from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import Any

import numpy as np
from scipy.stats import binomtest

from datafree_nas.report.artifacts import Artifacts, JsonObject
from datafree_nas.report.text import percent, quantity

_SAME = ("name", "row", "data", "labels", "seed")  # fields that networks of a row have in common
_MEASURED = ("test_accuracy", "agreement", "kl")
_COSTS = ("macs", "params")


def summarize(artifacts: Artifacts, config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those results that are equal in two runs of the same config.

    Args:
        artifacts: files of the run.
        config: settings of the run; `name` and `seed` are used.

    Returns:
        `config`, `seed`, `headline`, `note` (empty if there is nothing to add), `rows` from
        `rows_of`, and `architecture`, `None` if there was no search.
    """
    found = artifacts.architecture
    return {
        "config": config["name"],
        "seed": config["seed"],
        "headline": headline(artifacts),
        "note": note(artifacts),
        "rows": rows_of(artifacts.results, front_cost(artifacts)),
        "architecture": found["architecture"] if found else None,
    }


def front_cost(artifacts: Artifacts) -> str:
    """Returns the name of the cost that the search weighed; MACs in older versions."""
    return (artifacts.architecture or {}).get("front_cost", "macs")


def rows_of(results: Mapping[str, JsonObject], cost: str = "macs") -> list[dict[str, Any]]:
    """Brings the networks of a row together.

    Args:
        results: result of each network by its folder, in the order of the rows.
        cost: name of the cost that the search weighed.

    Returns:
        For each row its `name`, `row`, `data`, `labels` and `seed`; `pick`, which is true and only
        there for the search's choice among students of several sizes; the number of its `networks`;
        the means of their `test_accuracy`, `agreement`, `kl`, `macs` and `params`, and of `cost` if
        it is another one; and in `spread` the standard deviations of all but `macs` and `params`.
        None where nothing was measured, or where there is one network.
    """
    rows: dict[str, list[JsonObject]] = {}
    for folder, result in results.items():
        rows.setdefault(result.get("row", folder), []).append(result)
    several = any(map(is_of_family, results))
    measured = _MEASURED if cost in _COSTS else (*_MEASURED, cost)
    return [
        _row(networks, measured, pick=several and row == "synthetic")
        for row, networks in rows.items()
    ]


def is_of_family(folder: str) -> bool:
    """Tells whether a folder is that of another student of the Pareto front."""
    return folder.startswith("family_")


def _row(networks: list[JsonObject], names: Iterable[str], pick: bool) -> dict[str, Any]:
    measured = {name: _known(networks, name) for name in names}
    return {
        **{name: networks[0].get(name) for name in _SAME},
        **({"pick": True} if pick else {}),
        "networks": len(networks),
        **{name: fmean(values) if values else None for name, values in measured.items()},
        "spread": {
            name: float(np.std(values, ddof=1)) if len(values) > 1 else None
            for name, values in measured.items()
        },
        **{name: round(fmean(network[name] for network in networks)) for name in _COSTS},
    }


def _known(networks: list[JsonObject], name: str) -> list[float]:
    return [network[name] for network in networks if network.get(name) is not None]


def note(artifacts: Artifacts) -> str:
    """Says what an agreement means where there is no accuracy; else returns an empty text."""
    student = artifacts.results.get("synthetic", {})
    if not _agrees(student) or student.get("test_accuracy") is not None:
        return ""
    return (
        "This is not its accuracy on real images, which is unknown: synthetic images can be much "
        "easier. No estimate made without real images was within 5 points of the truth on both "
        "data sets of our measurements (docs/results.md)."
    )


def _agrees(student: JsonObject) -> bool:
    """Returns whether the agreement of a student was measured, on one image or more."""
    return student.get("agreement") is not None and student.get("held_out", 0) > 0


def _interval(share: float, count: int) -> tuple[float, float]:
    """Returns Wilson's 95 % interval of a share that was counted on so many images."""
    found = binomtest(round(share * count), count).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def headline(artifacts: Artifacts) -> str:
    """Says in one sentence how far the run has come, and its result."""
    student, teacher = (artifacts.results.get(folder, {}) for folder in ("synthetic", "teacher"))
    if student.get("test_accuracy") is not None:
        reached, best = percent(student["test_accuracy"]), teacher.get("test_accuracy")
        beside = f" (teacher {percent(best)})" if best is not None else ""
        return f"A student trained on synthetic images alone reaches {reached}{beside}."
    if _agrees(student):
        low, high = map(percent, _interval(student["agreement"], student["held_out"]))
        return (
            "A student trained on synthetic images alone agrees with the teacher on "
            f"{percent(student['agreement'])} of {student['held_out']} other synthetic images "
            f"(95 % interval: {low} to {high})."
        )
    if artifacts.architecture:
        found = artifacts.architecture
        cost = f"an architecture of {quantity(found['macs'])} MACs"
        searched = "The config gives" if found["strategy"] == "given" else "The search found"
        return f"{searched} {cost}; no student was tested yet."
    if artifacts.rounds:
        images = sum(row["images"] for row in artifacts.rounds)
        return f"{images} images were synthesized; nothing was searched yet."
    if artifacts.teacher:
        return f"The teacher, {artifacts.teacher['arch']}, is there; nothing was synthesized yet."
    return "Nothing was run yet."
