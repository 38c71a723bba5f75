"""Reads `architecture.json`, the result of a search."""

from pathlib import Path
from typing import Any

import numpy as np

from datafree_nas.runtime import records, workdir
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import read_json
from datafree_nas.spaces import notation
from datafree_nas.spaces.space import Architecture, Space

FILE = workdir.ARCHITECTURE


def load(path: Path, space: Space) -> Architecture:
    """Reads the architecture that a search of a space has found, at whatever size of the space.

    Args:
        path: place of an `architecture.json`.
        space: search space that the architecture should be from.

    Raises:
        UserError: there is no such file, it is damaged, or it is of another space.
    """
    try:
        return _read(path, space)[0]
    except UserError as error:
        raise UserError(f"{error}; restore the file, or name another one") from None


def of_run(directory: Path, space: Space) -> Architecture:
    """Reads what the search of this run has found.

    Args:
        directory: folder of the search stage.
        space: search space of the run.

    Raises:
        UserError: the file is missing, damaged or of another space; or MACs and weights in it are
            not those of its architecture,
            so that the report would show those of another one.
    """
    path = directory / FILE
    fix = f"restore the file, or remove {directory} and run the search again"
    try:
        architecture, content = _read(path, space)
    except UserError as error:
        raise UserError(f"{error}; {fix}") from None
    for name, cost in (("macs", space.macs), ("params", space.params)):
        if content.get(name) != cost(architecture):
            raise UserError(
                f"{path}: {name} is {notation.shown(content.get(name))}, but its architecture has "
                f"{cost(architecture)}; {fix}. An architecture of your own choice belongs in "
                "config.search.architecture, with config.search.strategy='given'"
            )
    return architecture


def front_of_run(directory: Path, space: Space) -> list[Architecture]:
    """Reads the Pareto front of the search of this run.

    Args:
        directory: folder of the search stage.
        space: search space of the run.

    Returns:
        Architectures by rising cost and score. The one found is among them, or else the last.

    Raises:
        UserError: the file is missing, damaged or of another space; or it has no front, because an
            older version wrote it, or nothing was scored.
    """
    path, found = directory / FILE, of_run(directory, space)
    fix = f"remove {directory} and run the search again"
    rows = records.read(path, records.FOUND, fix).get("front")
    if rows is None:
        raise UserError(f"{path} has no Pareto front (an older version wrote it); {fix}")
    try:
        front = [space.decode(row["architecture"]) for row in rows]
    except UserError as error:
        raise UserError(f"{path}: {error}; {fix}") from None
    if not any(np.array_equal(found, each) for each in front):
        front.append(found)  # others beat it, but not within the limits; see `run.search`
    return front


def _read(path: Path, space: Space) -> tuple[Architecture, dict[str, Any]]:
    """Returns the architecture in a file, and all that the file holds."""
    content = read_json(path)
    if not isinstance(content, dict) or "architecture" not in content:
        raise UserError(f"{path} holds no field 'architecture'")
    name = content.get("space", space.name)
    if name != space.name:
        raise UserError(
            f"{path} holds an architecture of {notation.shown(name)}, config.search.space.name is "
            f"{space.name!r}"
        )
    try:
        return space.decode(content["architecture"]), content
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
