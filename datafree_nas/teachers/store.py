"""Stores a teacher on disk: `variables/` by Orbax, and its card, `teacher.json`, written last.

A teacher that is a graph has `graph.json` beside them.
"""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from datafree_nas.interop import torch_file
from datafree_nas.interop.torch_names import state_dict
from datafree_nas.runtime import checkpoint, costs, records, workdir
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import as_path, make_directory, write_json
from datafree_nas.teachers import checks, registry
from datafree_nas.teachers.graph import teacher as graphs
from datafree_nas.teachers.graph.network import GraphNetwork
from datafree_nas.teachers.teacher import Teacher

FILE = workdir.CARD
_VARIABLES = "variables"


def save(
    directory: str | Path,
    teacher: Teacher,
    variables: Any,
    source: dict[str, str],
    class_names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Writes the variables and the card.

    Args:
        directory: directory of the teacher; created if it does not exist.
        teacher: description and module of the teacher.
        variables: weights and statistics of the teacher.
        source: origin of the weights: what `port.port` returns, or the data under `trained_on`.
        class_names: names of the classes, if they are known.

    Returns:
        The card, see `card`.
    """
    written = card(teacher, variables, source) | {"class_names": class_names}
    directory = make_directory(as_path(directory))
    checkpoint.save_variables(directory / _VARIABLES, variables)
    if isinstance(teacher.model, GraphNetwork):
        graphs.write(directory, teacher.model)
    write_json(directory / FILE, written)
    return written


def replace(
    directory: str | Path,
    teacher: Teacher,
    variables: Any,
    source: dict[str, str],
    class_names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Saves a teacher in place of another one, which is removed when the new one is complete.

    Args:
        directory: directory of the teacher; created if it does not exist. Only what `save` wrote
            there is removed.
        teacher: description and module of the teacher.
        variables: weights and statistics of the teacher.
        source: origin of the weights: what `port.port` returns, or the data under `trained_on`.
        class_names: names of the classes, if they are known.

    Returns:
        The card.

    Raises:
        UserError: the old variables have been changed since they were written.
    """
    directory = make_directory(as_path(directory))
    with tempfile.TemporaryDirectory(prefix=".", dir=directory) as beside:
        new, old = Path(beside) / "new", Path(beside) / "old"
        written = save(new, teacher, variables, source, class_names)
        check_replaceable(directory)
        if (directory / _VARIABLES).exists():
            (directory / _VARIABLES).rename(old)
        (new / _VARIABLES).rename(directory / _VARIABLES)
        if (new / graphs.FILE).exists():
            (new / graphs.FILE).replace(directory / graphs.FILE)
        else:
            (directory / graphs.FILE).unlink(missing_ok=True)
        (new / FILE).replace(directory / FILE)
    return written


def check_replaceable(directory: Path) -> None:
    """Raises `UserError` if the variables in a directory are not as `save` wrote them."""
    variables = directory / _VARIABLES
    if os.path.lexists(variables) and not checkpoint.is_intact(variables):
        raise UserError(
            f"{variables} holds other files than were written there; name a new directory or "
            "remove it"
        )


def card(teacher: Teacher, variables: Any, source: dict[str, str]) -> dict[str, Any]:
    """Describes a teacher: what `load` needs, sizes, and the results of checks.

    Args:
        teacher: description and module of the teacher.
        variables: weights and statistics of the teacher.
        source: origin of the weights.
    """
    image = jax.ShapeDtypeStruct((1, *teacher.image_size), jnp.float32)
    findings = [checks.architecture(teacher, source), *checks.run_checks(teacher, variables)]
    low = [-mean / std for mean, std in zip(teacher.mean, teacher.std, strict=True)]
    high = [(1 - mean) / std for mean, std in zip(teacher.mean, teacher.std, strict=True)]
    network = teacher.model if isinstance(teacher.model, GraphNetwork) else None
    return {
        "arch": teacher.arch,
        **({"graph": graphs.digest(network)} if network else {}),
        "num_classes": teacher.num_classes,
        "image_size": list(teacher.image_size),
        "mean": list(teacher.mean),
        "std": list(teacher.std),
        "input_range": [min(low), max(high)],
        "weights": checkpoint.digest(variables),
        "params": count(variables["params"]),
        "macs": costs.macs(teacher.model.apply, variables, image),
        "batch_norm_layers": len(checks.statistics(variables)),
        "checks": [finding._asdict() for finding in findings],
        "source": source,
    }


def load(directory: str | Path, factory: str = "") -> tuple[Teacher, Any]:
    """Reads a teacher that `save` wrote.

    Args:
        directory: directory of the teacher, e.g. `runs/digits_spos/teacher`.
        factory: `package.module:function` that makes the model, if it is not one of this package.

    Returns:
        The teacher and its variables, on the default device.

    Raises:
        UserError: the card or the variables are missing or damaged, or the card names an
            unknown architecture.
    """
    directory = as_path(directory)
    teacher = describe(directory, factory)
    variables = checkpoint.load_variables(directory / _VARIABLES, read_card(directory))
    return teacher, jax.tree.map(jnp.asarray, variables)


def read_card(directory: str | Path) -> dict[str, Any]:
    """Reads the card of a teacher that `save` wrote.

    Raises:
        UserError: there is no card, or a field is missing or has a value that is not allowed.
    """
    file = as_path(directory) / FILE
    advice = "restore the file, or port or train the teacher again"
    return records.read(file, records.DESCRIPTION, advice)


def describe(directory: str | Path, factory: str = "") -> Teacher:
    """Reads the card of a teacher that `save` wrote, without its variables.

    Args:
        directory: directory of the teacher.
        factory: `package.module:function` that makes the model, if it is not one of this package.
            The card only names the function; nothing is imported because a card says so.

    Raises:
        UserError: the card is missing or damaged, or names an unknown architecture or a function
            other than `factory`.
    """
    checkpoint.check_place(as_path(directory))
    described = read_card(directory)
    changes: Any = {name: tuple(described[name]) for name in ("image_size", "mean", "std")}
    if "graph" in described:
        model = graphs.read(as_path(directory), described["graph"])
        teacher = Teacher(described["arch"], model, described["num_classes"], **changes)
        registry.check(teacher)
        return teacher
    if ":" in described["arch"] and described["arch"] != factory:
        raise UserError(
            f"{as_path(directory) / FILE} is of a model made by {described['arch']!r}; if you "
            "trust that function, name it yourself: config.teacher.factory (factory= in Python)"
        )
    return registry.create_teacher(described["arch"], described["num_classes"], **changes)


def export(path: str | Path, teacher: Teacher, variables: Any, style: int = 0) -> None:
    """Writes a safetensors file whose keys are PyTorch's, for `load_state_dict`.

    Args:
        path: path of the file, in a folder that exists.
        teacher: description of the teacher.
        variables: weights and statistics of the teacher.
        style: index of the key style in `teacher.torch_names`.
    """
    tensors = state_dict(variables, teacher.torch_names[style])
    torch_file.write(as_path(path), tensors, {"arch": teacher.arch})


def count(params: Any) -> int:
    """Counts the weights of a pytree."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
