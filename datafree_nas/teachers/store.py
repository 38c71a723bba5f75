"""A teacher on disk: `variables/` by Orbax, and `teacher.json`, which is written last."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from datafree_nas.runtime import checkpoint
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import make_directory, read_json, write_json
from datafree_nas.teachers import registry, torch_port
from datafree_nas.teachers.teacher import Teacher

FILE = "teacher.json"


def save(
    directory: Path,
    teacher: Teacher,
    variables: Any,
    source: dict[str, str],
    macs: int,
    class_names: list[str] | None = None,
) -> None:
    """Writes variables and card.

    Args:
        directory: created if need be.
        teacher: what it is.
        variables: its weights and statistics.
        source: where the weights are from: `{"file", "sha256"}` or `{"trained_on"}`.
        macs: multiply-accumulates of one image.
        class_names: if they are known.
    """
    make_directory(directory)
    checkpoint.save_variables(directory / "variables", variables)
    card = {
        "arch": teacher.arch,
        "num_classes": teacher.num_classes,
        "image_size": list(teacher.image_size),
        "mean": list(teacher.mean),
        "std": list(teacher.std),
        "params": count(variables["params"]),
        "macs": macs,
        "batch_norm_layers": sum(
            path[-1].key == "mean"
            for path, _ in jax.tree_util.tree_leaves_with_path(variables.get("batch_stats", {}))
        ),
        "class_names": class_names,
        "source": source,
    }
    write_json(directory / FILE, card)


def load(directory: Path) -> tuple[Teacher, Any]:
    """Reads a teacher that `save` wrote.

    Returns:
        The teacher and its variables, on the default device.

    Raises:
        UserError: nothing there, or a card that lacks a field or names an unknown architecture.
    """
    card = read_json(directory / FILE)
    for field in ("arch", "num_classes", "image_size", "mean", "std"):
        if not card.get(field):
            raise UserError(
                f"{directory / FILE} has no {field!r}; port the teacher again, giving --{field}"
            )
    teacher = registry.create(
        card["arch"],
        card["num_classes"],
        image_size=tuple(card["image_size"]),
        mean=tuple(card["mean"]),
        std=tuple(card["std"]),
    )
    variables = checkpoint.load_variables(directory / "variables")
    return teacher, jax.tree.map(jnp.asarray, variables)


def port(teacher: Teacher, file: Path) -> tuple[Any, dict[str, str]]:
    """Converts a PyTorch checkpoint.

    Returns:
        Variables, and the source for `save`.
    """
    image = jnp.zeros((1, *teacher.image_size))
    abstract = jax.eval_shape(teacher.model.init, jax.random.key(0), image)
    variables = torch_port.convert(teacher, torch_port.read_state_dict(file), abstract)
    return variables, {"file": file.name, "sha256": torch_port.sha256(file)}


def count(params: Any) -> int:
    """Number of weights in a pytree."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
