"""Output of a benchmark: a table on the screen and a JSON file.

The file is `{command, commit, device, rows: [{name, ...}]}`. This module is not a command; every
benchmark ends with `report`.
"""

import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from rich import box
from rich.console import Console
from rich.table import Table

from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import make_directory, write_json
from datafree_nas.runtime.terminal import printable

Row = dict[str, Any]


def destination(text: str, flag: str = "json") -> Path | None:
    """Returns the path in a flag, checked before hours of work would be lost.

    Args:
        text: value of the flag; empty: no file is wanted.
        flag: name of the flag.

    Raises:
        UserError: no file can be written there.
    """
    if not text:
        return None
    path = Path(text)
    if path.is_dir():
        raise UserError(f"--{flag}={text} is a directory; name a file")
    make_directory(path.parent)
    return path


def report(
    rows: Sequence[Row], settings: Row, path: Path | None, console: Console | None = None
) -> None:
    """Prints a table and writes the file.

    Args:
        rows: rows with the same fields, of which the first is `name`.
        settings: fields of every row, printed once below the table.
        path: path of the file, from `destination`; `None` only prints.
        console: console to print on; default: standard output.
    """
    console = console or Console()
    caption = ", ".join([device(), *(f"{_words(k)} {v}" for k, v in settings.items())])
    table = Table("name", box=box.SIMPLE_HEAD)
    for field in list(rows[0])[1:]:
        table.add_column(_words(field), justify="right", overflow="fold")
    table.columns[0].no_wrap = True
    for row in rows:
        table.add_row(*map(_shown, row.values()))
    console.print(table)
    console.print(caption, style="italic", highlight=False)
    if path:
        write_json(path, {**origin(), "rows": [{**row, **settings} for row in rows]})
        console.print(f"written to {path}", highlight=False, soft_wrap=True)


def origin() -> Row:
    """Returns where numbers come from: command, commit and device."""
    command = shlex.join(["python", *sys.orig_argv[1:]])
    return {"command": command, "commit": commit(Path(__file__).parent), "device": device()}


def _words(field: str) -> str:
    return field.replace("_", " ")


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else printable(value)


def commit(directory: Path) -> str:
    """Returns the short hash of the checked-out commit, with `-dirty` if files have changed.

    Outside of git it is `unknown`.
    """
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        found = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def device() -> str:
    """Describes JAX's first device, and the processor with its cores."""
    cpu, cores = _processor(), len(os.sched_getaffinity(0))
    return f"{jax.devices()[0].device_kind} ({cpu}, {cores} cores)"


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        found = None
    return found[1] if found else platform.machine()
