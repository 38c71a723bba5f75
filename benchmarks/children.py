"""Runs the steps of a benchmark as commands of their own, each with its output in a file.

This module is not a command.
"""

import os
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.terminal import printable

ROOT = Path(__file__).parents[1]


def run(command: Sequence[str], log: Path, environment: Mapping[str, str] = {}) -> float:
    """Runs a command in the root of the repository, and measures its seconds with start and end.

    Args:
        command: program with its arguments.
        log: path of the file that gets the command and its output.
        environment: variables that the command gets besides those of this process.

    Raises:
        UserError: the command has failed; the message has the last line of its output.
    """
    print(f"+ {shlex.join(command)}", flush=True)
    with log.open("w") as file:
        print(f"+ {shlex.join(command)}", file=file, flush=True)
        began = time.perf_counter()
        status = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        ).returncode
        seconds = time.perf_counter() - began
    if status:
        last = log.read_text(errors="replace").splitlines()[-1]
        raise UserError(f"a step has failed, see {log}: {printable(last)}")
    return seconds
