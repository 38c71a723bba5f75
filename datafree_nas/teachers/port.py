"""A PyTorch checkpoint becomes a teacher: which one it is, where every tensor goes, and nothing
left over on either side.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from datafree_nas.interop import torch_file
from datafree_nas.interop.torch_file import Tensor
from datafree_nas.interop.torch_names import KeyTable, at, from_torch, key_table, put, torch_shape
from datafree_nas.runtime.errors import UserError
from datafree_nas.teachers import registry
from datafree_nas.teachers.teacher import Teacher

_MAX_LISTED = 8
COUNTER = "num_batches_tracked"  # PyTorch's BatchNorm keeps one; nothing here needs it


class Match(NamedTuple):
    """How a checkpoint fits a teacher.

    Attributes:
        teacher: with the checkpoint's number of classes.
        abstract: shapes of its variables.
        prefix: what stands before the teacher's keys in the file, e.g. `state_dict.module.`.
        rivals: other prefixes under which it fits as well.
        table: PyTorch's key, without the prefix, to path.
        problems: what is missing, unexpected, mis-shaped; empty if it fits.
        also_fit: other architectures that do, where all were tried.
    """

    teacher: Teacher
    abstract: Any
    prefix: str
    rivals: list[str]
    table: KeyTable
    problems: dict[str, list[str]]
    also_fit: Sequence[str] = ()

    @property
    def faults(self) -> int:
        """How many tensors do not fit."""
        return sum(len(keys) for keys in self.problems.values())


def port(
    arch: str, file: Path, num_classes: int = 0, prefix: str = "", **changes: Any
) -> tuple[Teacher, Any, dict[str, str]]:
    """Converts a PyTorch checkpoint.

    Args:
        arch: of the teacher, or `auto` for the one whose keys and shapes fit.
        file: see `torch_file.read`.
        num_classes: 0 for what the checkpoint's head says.
        prefix: see `match`.
        **changes: `image_size`, `mean`, `std`, see `registry.create`.

    Returns:
        The teacher, its variables, float32, and their source for `store.save`.

    Raises:
        UserError: the file cannot be read or does not fit; the line lists what does not.
    """
    if arch != "auto":
        registry.create(arch, num_classes, **changes)  # a mistake there is told of first
    tensors = torch_file.read(file)
    found = match(arch, tensors, num_classes, prefix, **changes)
    variables = convert(found, tensors)
    source = {"file": file.name, "sha256": torch_file.sha256(file)}
    if found.also_fit:
        source["also_fits"] = ", ".join(found.also_fit)
    return found.teacher, variables, source


def match(
    arch: str,
    tensors: Mapping[str, Tensor],
    num_classes: int = 0,
    prefix: str = "",
    **changes: Any,
) -> Match:
    """Finds the teacher's tensors in a checkpoint.

    Args:
        arch: of the teacher, or `auto`.
        tensors: by dotted name, as `torch_file.read` gives them.
        num_classes: 0 for what the checkpoint's head says.
        prefix: where in the file to look, e.g. `model_ema`; empty to find it.
        **changes: see `registry.create`.

    Raises:
        UserError: it does not fit, or under several prefixes.
    """
    prefix = f"{prefix.rstrip('.')}." if prefix else ""
    tensors = {key: value for key, value in tensors.items() if key.startswith(prefix)}
    if not tensors:
        raise UserError(f"the checkpoint has nothing under --prefix={prefix.rstrip('.')}")
    candidates = registry.names() if arch == "auto" else [arch]
    found = [_match(name, tensors, num_classes, changes) for name in candidates]
    best = min(found, key=lambda match: match.faults)
    if best.problems:
        raise UserError(_refusal(best, tensors, arch))
    if best.rivals:
        places = ", ".join(sorted(p.rstrip(".") or "its top" for p in [best.prefix, *best.rivals]))
        raise UserError(f"the checkpoint holds {best.teacher.arch} at {places}; choose by --prefix")
    fitting = [match.teacher.arch for match in found if not match.problems]
    return best._replace(also_fit=[name for name in fitting if name != best.teacher.arch])


def _match(
    arch: str, tensors: Mapping[str, Tensor], num_classes: int, changes: dict[str, Any]
) -> Match:
    """The best of the teacher's key styles."""
    teacher = registry.create(arch, num_classes, **changes)
    abstract = shapes(teacher)
    styles = [(key_table(abstract, rename), rename) for rename in teacher.torch_names]
    counted = [(_prefixes(table, tensors), table, rename) for table, rename in styles]
    counts, table, rename = max(counted, key=lambda c: max(c[0].values(), default=0))
    most = max(counts.values(), default=0)
    prefix, *rivals = [p for p, count in counts.items() if count == most] or [""]
    head = tensors.get(f"{prefix}{rename(teacher.head)}.weight")
    if head is not None and not num_classes and head.shape[0] != teacher.num_classes:
        teacher = registry.create(arch, head.shape[0], **changes)
        abstract = shapes(teacher)
    problems = _problems(table, abstract, tensors, prefix)
    return Match(teacher, abstract, prefix, rivals, table, problems)


def shapes(teacher: Teacher) -> Any:
    """The teacher's variables, as shapes."""
    image = jax.ShapeDtypeStruct((1, *teacher.image_size), jnp.float32)
    return jax.eval_shape(teacher.model.init, jax.random.key(0), image)


def _prefixes(table: KeyTable, tensors: Iterable[str]) -> Counter[str]:
    """For everything that stands before a key of the table, how many keys it stands before."""
    counts: Counter[str] = Counter()
    for key in tensors:
        parts = key.split(".")
        for cut in range(len(parts)):
            if ".".join(parts[cut:]) in table:
                counts["".join(f"{part}." for part in parts[:cut])] += 1
    return counts


def _problems(
    table: KeyTable, abstract: Any, tensors: Mapping[str, Tensor], prefix: str
) -> dict[str, list[str]]:
    given = {
        key.removeprefix(prefix): tensor
        for key, tensor in tensors.items()
        if key.startswith(prefix) and not key.endswith(COUNTER)
    }
    mis_shaped = []
    for key in table.keys() & given.keys():
        shape, wanted = given[key].shape, torch_shape(at(abstract, table[key]).shape)
        if shape != wanted:
            mis_shaped.append(f"{key} {shape} instead of {wanted}")
    problems = {
        "missing": sorted(table.keys() - given.keys()),
        "unexpected": sorted(given.keys() - table.keys()),
        "mis-shaped": sorted(mis_shaped),
    }
    return {what: keys for what, keys in problems.items() if keys}


def _refusal(best: Match, tensors: Mapping[str, Tensor], arch: str) -> str:
    name = best.teacher.arch
    if not any(key.endswith("running_mean") for key in tensors):
        return (
            "the checkpoint has no BatchNorm statistics (no running_mean), which synthesis "
            "matches; port one whose BatchNorm is not folded into the convolutions"
        )
    listed = "; ".join(_listed(what, keys) for what, keys in best.problems.items())
    if arch == "auto":
        return f"the checkpoint fits no known architecture; {name} is nearest: {listed}"
    return (
        f"the checkpoint does not fit {name}: {listed}; choose another --arch (auto tries all), "
        "another file, or say --image_size if the stem takes other channels"
    )


def _listed(what: str, keys: list[str]) -> str:
    more = f" and {len(keys) - _MAX_LISTED} more" if len(keys) > _MAX_LISTED else ""
    return f"{len(keys)} {what}: {', '.join(keys[:_MAX_LISTED])}{more}"


def convert(found: Match, tensors: dict[str, Tensor]) -> Any:
    """Puts every tensor in its place.

    Args:
        found: by `match`.
        tensors: that it was found in; those taken are removed, so that no weight is held twice.

    Returns:
        Variables, float32.

    Raises:
        UserError: a tensor cannot be read, or has values that are not finite.
    """
    variables: dict[str, Any] = {}
    for key, path in found.table.items():
        name = found.prefix + key
        try:
            value = from_torch(tensors.pop(name).load())
        except Exception as error:  # whatever the reader stumbles over, the file is at fault
            raise UserError(f"{name} cannot be read ({error}); get the file again") from None
        if not np.isfinite(value).all():
            raise UserError(f"{name} has values that are not finite; no network computes with them")
        put(variables, path, jnp.array(value, jnp.float32))  # a copy, in order
    return variables
