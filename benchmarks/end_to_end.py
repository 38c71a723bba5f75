r"""Measures the time and the memory that each stage of a run takes.

    python -m benchmarks.end_to_end --json=FILE [--workdir=DIR] [-- FLAGS]

Runs `python -m datafree_nas.main FLAGS`, by default the digits, in a directory of its own, and
watches it from outside: a stage ends when its `done.json` appears. `start` is the time before the
first stage: imports, and the start of the device. Memory is the resident memory of the process in
GiB, measured ten times a second. Each stage has its maximum, its value after the first tenth of the
stage, and its value at the end, so that growth shows. Memory of an accelerator is not included.
"""

from datafree_nas.runtime import terminal

if __name__ == "__main__":
    terminal.prepare()  # before the imports, which take seconds

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

from benchmarks import results, watching
from benchmarks.json_flag import JSON
from datafree_nas.runtime.errors import UserError, exit_cleanly
from datafree_nas.runtime.files import make_directory
from datafree_nas.runtime.flags import parse
from datafree_nas.runtime.interrupt import raised_signals

_WORKDIR = flags.DEFINE_string("workdir", "", "that does not exist yet; default: a temporary one")


def _run(arguments: Sequence[str]) -> None:
    file = results.destination(JSON.value)
    if _WORKDIR.value and Path(_WORKDIR.value).exists():
        raise UserError(f"--workdir={_WORKDIR.value} is there already; name a new directory")
    with raised_signals(), tempfile.TemporaryDirectory() as temporary:
        workdir = make_directory(Path(_WORKDIR.value or temporary).absolute())
        command = [sys.executable, "-m", "datafree_nas.main", *arguments, f"--workdir={workdir}"]
        looks, done = watching.watch(command, workdir)
    results.report(watching.rows(looks, done), {}, file)


def main(argv: list[str]) -> None:
    """Measures one run."""
    exit_cleanly(lambda: _run(argv[1:]))


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
