r"""What each stage of a run takes: wall time, and the memory of its process.

    python -m benchmarks.end_to_end --json=FILE [--workdir=DIR] [-- FLAGS]

Runs `python -m datafree_nas.main FLAGS`, by default the digits, in a directory of its own, and
watches it from outside: a stage ends when its `done.json` appears. `start` is what passes before
the first stage: imports, and the device's start. Of each stage, memory is the most that was
resident, and at the end of the stage's first tenth and at its end, so that growth shows; in GiB,
looked at ten times a second. Memory of an accelerator is not in it.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
from absl import app, flags

from benchmarks import results
from datafree_nas.pipeline import DIRECTORIES
from datafree_nas.runtime.errors import UserError, exit_cleanly
from datafree_nas.runtime.files import make_directory
from datafree_nas.runtime.flags import parse

_JSON = flags.DEFINE_string("json", "", "file to write; none: only the table")
_WORKDIR = flags.DEFINE_string("workdir", "", "that does not exist yet; default: a temporary one")

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
    """
    clock, began = time.time(), time.monotonic()
    looks: list[Look] = []
    with psutil.Popen(list(command), cwd=Path(__file__).parents[1]) as process:
        while process.poll() is None:
            if held := _resident(process):
                looks.append(Look(time.monotonic() - began, held / 2**30))
            time.sleep(_SECONDS)
    if process.returncode:
        raise SystemExit(process.returncode)
    files = {stage: workdir / place / "done.json" for stage, place in DIRECTORIES.items()}
    done = {s: file.stat().st_mtime - clock for s, file in files.items() if file.exists()}
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


def _run(arguments: Sequence[str]) -> None:
    file = results.destination(_JSON.value)
    if _WORKDIR.value and Path(_WORKDIR.value).exists():
        raise UserError(f"--workdir={_WORKDIR.value} is there already; name a new directory")
    with tempfile.TemporaryDirectory() as temporary:
        workdir = make_directory(Path(_WORKDIR.value or temporary).absolute())
        command = [sys.executable, "-m", "datafree_nas.main", *arguments, f"--workdir={workdir}"]
        looks, done = watch(command, workdir)
    results.report(rows(looks, done), {}, file)


def main(argv: list[str]) -> None:
    """Measures one run."""
    exit_cleanly(lambda: _run(argv[1:]))


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
