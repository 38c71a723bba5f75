"""A process seen from outside while it works through the stages: time and memory of each.

No command of its own.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks import results
from datafree_nas.pipeline import DIRECTORIES
from datafree_nas.runtime.errors import UserError

_SECONDS = 0.1  # between two looks
_EARLY = 0.1  # share of a stage after which its programs are compiled and its data is there


class Look(NamedTuple):
    """At the process, so many seconds after its start."""

    seconds: float
    gib: float


def watch(command: Sequence[str], workdir: Path) -> tuple[list[Look], dict[str, float]]:
    """Runs a command that works through stages.

    Args:
        command: a Python program with its arguments.
        workdir: where its stages leave their directories.

    Returns:
        What was seen, and by stage when it was done, in seconds, in order; `start` is the first.

    Raises:
        SystemExit: it has failed, and has said why.
        UserError: it went through no stage.
    """
    clock, began = time.time(), time.monotonic()
    looks: list[Look] = []
    with psutil.Popen(list(command), cwd=Path(__file__).parents[1]) as process:
        try:
            while process.poll() is None:
                if held := _resident(process):
                    looks.append(Look(time.monotonic() - began, held / 2**30))
                time.sleep(_SECONDS)
        finally:  # at a signal
            if process.poll() is None:
                process.terminate()
    if process.returncode:
        raise SystemExit(process.returncode)
    files = {stage: workdir / place / "done.json" for stage, place in DIRECTORIES.items()}
    done = {s: file.stat().st_mtime - clock for s, file in files.items() if file.exists()}
    if not done:
        raise UserError(f"{' '.join(command)} ran no stage; there is nothing to measure")
    first = workdir / DIRECTORIES[next(iter(done))] / "config.json"
    return looks, {"start": first.stat().st_mtime - clock, **done}


def _resident(process: psutil.Popen) -> int:
    """Bytes; 0 of one that is ending."""
    try:
        return process.memory_info().rss
    except psutil.NoSuchProcess:
        return 0


def rows(looks: Sequence[Look], done: dict[str, float]) -> list[results.Row]:
    """One for each stage, and one for all of them.

    Args:
        looks: at the process, in order.
        done: by stage when it ended.
    """
    found, began = [], 0.0
    for stage, end in [*done.items(), ("all", looks[-1].seconds)]:
        began = 0.0 if stage == "all" else began
        held = [look.gib for look in looks if began <= look.seconds <= end] or [looks[-1].gib]
        early = held[int(_EARLY * len(held))]
        memory = {"peak_gib": max(held), "early_gib": early, "last_gib": held[-1]}
        found.append({"name": stage, "seconds": end - began, **memory})
        began = end
    return found
