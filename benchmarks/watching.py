"""Watches a process from outside while it works through the stages: time and memory of each.

This module is not a command.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks import results
from datafree_nas.pipeline import STAGES
from datafree_nas.runtime.errors import UserError

_SECONDS = 0.1  # between two looks
_EARLY = 0.1  # share of a stage after which its programs are compiled and its data is there


class Look(NamedTuple):
    """Resident memory of the process in GiB, so many seconds after its start."""

    seconds: float
    gib: float


def watch(command: Sequence[str], workdir: Path) -> tuple[list[Look], dict[str, float]]:
    """Runs a command that works through stages.

    Args:
        command: a Python program with its arguments.
        workdir: directory in which the stages have theirs.

    Returns:
        The looks at the process; and by stage, in order, when it was done, in seconds. `start` is
        the first of them.

    Raises:
        SystemExit: the command has failed, and has printed the reason.
        UserError: the command ran no stage.
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
    files = {stage.name: workdir / stage.directory / "done.json" for stage in STAGES}
    done = {s: file.stat().st_mtime - clock for s, file in files.items() if file.exists()}
    if not done:
        raise UserError(f"{' '.join(command)} ran no stage; there is nothing to measure")
    first = files[next(iter(done))].with_name("config.json")
    return looks, {"start": first.stat().st_mtime - clock, **done}


def _resident(process: psutil.Popen) -> int:
    """Returns the bytes that a process has in memory; 0 if it is ending."""
    try:
        return process.memory_info().rss
    except psutil.NoSuchProcess:
        return 0


def rows(looks: Sequence[Look], done: dict[str, float]) -> list[results.Row]:
    """Returns one row for each stage, and one for all of them.

    Args:
        looks: looks at the process, in order.
        done: end of each stage, in seconds.
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
