"""Checks the Python classes that a TFDS directory names, as TFDS would import any of them."""

import json
import re
from collections.abc import Iterator
from typing import Any

from etils import epath

from datafree_nas.runtime.errors import UserError

FILE = "features.json"
_CLASS_FIELDS = ("pythonClassName", "python_class_name", "type")
_OF_TFDS = re.compile(r"tensorflow_datasets(\.\w+)+", re.ASCII)


def check(directory: epath.PathLike) -> None:
    """Checks that all features are classes of TFDS; call this before TFDS opens the directory.

    Args:
        directory: folder of one version of a data set; without `features.json` in it, nothing is
            checked.

    Raises:
        UserError: the class of a feature is not part of TFDS, or the file is not readable JSON.
    """
    file = epath.Path(directory) / FILE
    if not file.exists():
        return
    try:
        content = json.loads(file.read_text())
        foreign = [name for name in _classes(content) if not _OF_TFDS.fullmatch(name)]
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} is not readable: {error or type(error).__name__}") from None
    if foreign:
        raise UserError(
            f"{file} has a feature of the class {foreign[0]!r}, which is not one of TFDS and would "
            "have to be imported; only sets with TFDS's own features are read"
        )


def _classes(content: Any) -> Iterator[str]:
    """Yields the classes that a JSON value names, at any depth."""
    if isinstance(content, dict):
        yield from (content[f] for f in _CLASS_FIELDS if isinstance(content.get(f), str))
    if isinstance(content, dict | list):
        for inner in content.values() if isinstance(content, dict) else content:
            yield from _classes(inner)
