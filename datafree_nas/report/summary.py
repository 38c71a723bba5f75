"""The outcome of a run: a few numbers for programs, one sentence for people."""

from collections.abc import Mapping
from typing import Any

from datafree_nas.report.artifacts import Artifacts
from datafree_nas.report.text import percent, quantity

COLUMNS = ("name", "data", "test_accuracy", "macs", "params", "seed")


def summarize(artifacts: Artifacts, config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those results that are equal in two runs of the same config.

    Args:
        artifacts: files of the run.
        config: settings of the run; `name` and `seed` are used.

    Returns:
        `config`, `seed`, `rows` (name, data, test accuracy in [0, 1], MACs, params, seed) and
        `architecture`, `None` if there was no search.
    """
    found = artifacts.architecture
    return {
        "config": config["name"],
        "seed": config["seed"],
        "rows": [
            {column: result[column] for column in COLUMNS} for result in artifacts.results.values()
        ],
        "architecture": found["architecture"] if found else None,
    }


def headline(artifacts: Artifacts) -> str:
    """Says in one sentence how far the run has come, and its result."""
    accuracy = {folder: result["test_accuracy"] for folder, result in artifacts.results.items()}
    if accuracy.get("synthetic") is not None:
        reached, teacher = percent(accuracy["synthetic"]), accuracy.get("teacher")
        beside = f" (teacher {percent(teacher)})" if teacher is not None else ""
        return f"A student trained on synthetic images alone reaches {reached}{beside}."
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
