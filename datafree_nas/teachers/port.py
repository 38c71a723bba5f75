"""Converts a PyTorch checkpoint to a teacher.

Finds out which architecture it is and where every tensor goes. Every tensor of the network must be
in the checkpoint, and every tensor of the checkpoint that may belong to the network must have a
place in it.
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
from datafree_nas.runtime.files import as_path
from datafree_nas.teachers import beside, registry
from datafree_nas.teachers.beside import COUNTER
from datafree_nas.teachers.teacher import Teacher

_MAX_LISTED = 8
_FLOATS = ("f", "bf")  # first letters of the names of floating-point types


class Match(NamedTuple):
    """How a checkpoint fits a teacher.

    Attributes:
        teacher: description of the teacher, with the checkpoint's number of classes.
        abstract: shapes of the teacher's variables.
        prefix: part of the file's names before the teacher's keys, e.g. `state_dict.module.`.
        rivals: other prefixes under which the file holds as many of the teacher's keys.
        table: path of each variable, by its PyTorch key without the prefix.
        head: PyTorch's name of the last dense layer.
        problems: tensors that do not fit, by kind: `missing`, `unexpected`, `mis-shaped`; empty if
            all fit.
        ignored: names of tensors that the network does not need.
        normalizers: names of tensors with the mean or the standard deviation of the images.
        also_fit: variants of the teacher that fit as well and compute something else; rare variants
            only if the architecture was `auto`.
    """

    teacher: Teacher
    abstract: Any
    prefix: str
    rivals: list[str]
    table: KeyTable
    head: str
    problems: dict[str, list[str]]
    ignored: list[str]
    normalizers: list[str]
    also_fit: Sequence[str] = ()

    @property
    def faults(self) -> int:
        """Number of tensors that do not fit."""
        return sum(len(keys) for keys in self.problems.values())


def port(
    arch: str,
    file: str | Path,
    num_classes: int = 0,
    prefix: str = "",
    ignore: Sequence[str] = (),
    **changes: Any,
) -> tuple[Teacher, Any, dict[str, str]]:
    """Converts a PyTorch checkpoint.

    Args:
        arch: name of the teacher's architecture, or `auto` for the one whose keys and shapes fit.
        file: path of the checkpoint, see `torch_file.read`.
        num_classes: number of classes; 0 for that of the checkpoint's head.
        prefix: part of the file in which to look, see `match`.
        ignore: patterns of names of tensors to ignore, see `match`.
        **changes: image size, mean or std of the images, see `registry.create_teacher`.

    Returns:
        The teacher, its variables in float32, and their source for `store.save`: file, checksum,
        and what had to be assumed.

    Raises:
        UserError: the file cannot be read or does not fit; the message lists what does not fit.
    """
    if arch != "auto":
        registry.create_teacher(
            arch, num_classes, **changes
        )  # reports a mistake before the file is read
    tensors = torch_file.read(file)
    found = match(arch, tensors, num_classes, prefix, ignore, **changes)
    variables = convert(found, tensors)
    path = as_path(file)
    source = {"file": path.name, "sha256": torch_file.sha256(path)}
    return found.teacher, variables, source | _assumed(found)


def _assumed(found: Match) -> dict[str, str]:
    """Collects what the file does not say for certain, for the card."""
    others = [registry.create_teacher(name) for name in found.also_fit]
    usual = {rename(found.teacher.head) for rename in found.teacher.torch_names}
    said = {
        "also_fits": "; ".join(f"{other.arch} ({other.difference})" for other in others),
        "ignored": _summary(found.ignored),
        "head": "" if found.head in usual else found.head,
    }
    return {name: value for name, value in said.items() if value}


def _summary(names: list[str]) -> str:
    """Lists the names or, if they are many, counts the endings of the names."""
    if len(names) <= _MAX_LISTED:
        return ", ".join(names)
    ends = Counter(name.rpartition(".")[2] for name in names)
    return few([f"{count} {end}" for end, count in ends.items()])


def match(
    arch: str,
    tensors: Mapping[str, Tensor],
    num_classes: int = 0,
    prefix: str = "",
    ignore: Sequence[str] = (),
    **changes: Any,
) -> Match:
    """Finds the teacher's tensors in a checkpoint.

    Args:
        arch: name of the teacher's architecture, or `auto`.
        tensors: tensors by dotted name, as `torch_file.read` returns them.
        num_classes: number of classes; 0 for that of the checkpoint's head.
        prefix: part of the file in which to look, e.g. `model_ema`; empty to find it.
        ignore: patterns of names of tensors that are no part of the network, see `beside.sort`.
        **changes: image size, mean or std of the images, see `registry.create_teacher`.

    Raises:
        UserError: the checkpoint does not fit; or it fits under several prefixes with different
            values; or it fits several architectures that compute different things; or it holds a
            mean or a standard deviation of images, and `mean` is not given.
    """
    prefix = f"{prefix.rstrip('.')}." if prefix else ""
    tensors = {key: value for key, value in tensors.items() if key.startswith(prefix)}
    if not tensors:
        raise UserError(f"the checkpoint has nothing under --prefix={prefix.rstrip('.')}")
    candidates = registry.originals() if arch == "auto" else [arch]
    best = _nearest(_match(name, tensors, num_classes, ignore, changes) for name in candidates)
    _check_outputs(best, tensors)
    if best.problems:
        raise UserError(_refusal(best, tensors, arch))
    if best.normalizers and "mean" not in changes:
        beside.ask_for_normalization(best.normalizers, tensors)
    _check_copies(best, tensors)
    variants = [
        name
        for name in registry.variants_of(best.teacher.arch)
        if not _match(name, tensors, num_classes, ignore, changes).problems
    ]
    if arch == "auto":
        _check_variants(best, variants)
    else:
        variants = [name for name in variants if not registry.create_teacher(name).rare]
    copies = [f"{rival}*" for rival in best.rivals]
    return best._replace(also_fit=variants, ignored=[*copies, *best.normalizers, *best.ignored])


def _nearest(matches: Iterable[Match]) -> Match:
    """Returns the first match that fits, else the one with the fewest faults."""
    tried = []
    for found in matches:
        if not found.problems:
            return found
        tried.append(found)
    return min(tried, key=lambda match: match.faults)


def _check_outputs(best: Match, tensors: Mapping[str, Tensor]) -> None:
    weight = tensors.get(f"{best.prefix}{best.head}.weight")
    if weight is not None and weight.shape[:1] == (1,):
        raise UserError(registry.one_output(f"{best.prefix}{best.head}"))


def _check_copies(best: Match, tensors: Mapping[str, Tensor]) -> None:
    """Raises `UserError` if the file holds several copies of the network that differ."""
    keys = best.table.keys()
    if any(not beside.same_values(tensors, keys, best.prefix, rival) for rival in best.rivals):
        places = ", ".join(sorted(p.rstrip(".") or "its top" for p in [best.prefix, *best.rivals]))
        raise UserError(f"the checkpoint holds {best.teacher.arch} at {places}; choose by --prefix")


def _check_variants(best: Match, variants: Sequence[str]) -> None:
    """Raises `UserError` if another common architecture has the same keys and shapes."""
    for name in variants:
        other = registry.create_teacher(name)
        if not other.rare:
            raise UserError(
                f"the checkpoint fits {best.teacher.arch} and {name}, which have the same keys and "
                f"shapes but compute different things ({name}: {other.difference}); "
                f"say --arch={best.teacher.arch} or --arch={name}"
            )


def _match(
    arch: str,
    tensors: Mapping[str, Tensor],
    num_classes: int,
    ignore: Sequence[str],
    changes: dict[str, Any],
) -> Match:
    """Matches one architecture with a checkpoint, by the key style that fits best."""
    teacher = registry.create_teacher(arch, num_classes, **changes)
    abstract = shapes(teacher)
    styles = [(key_table(abstract, rename), rename) for rename in teacher.torch_names]
    counted = [(prefixes(table, tensors), table, rename) for table, rename in styles]
    counts, table, rename = max(counted, key=lambda c: max(c[0].values(), default=0))
    most = max(counts.values(), default=0)
    prefix, *rivals = [p for p, count in counts.items() if count == most] or [""]
    table, head = _behind_dropout(table, rename(teacher.head), prefix, tensors)
    weight = tensors.get(f"{prefix}{head}.weight")
    width = weight.shape[0] if weight is not None and weight.shape else 1
    if not num_classes and width not in (1, teacher.num_classes):
        teacher = registry.create_teacher(arch, width, **changes)
        abstract = shapes(teacher)
    rest = _rest(table, tensors, [prefix, *rivals])
    found = beside.sort(rest, tensors, ignore, teacher.image_size[2])
    unexpected = [name.removeprefix(prefix) for name in found.unexpected]
    problems = _problems(table, abstract, tensors, prefix, unexpected)
    return Match(
        teacher, abstract, prefix, rivals, table, head, problems, found.ignored, found.normalizers
    )


def _behind_dropout(
    table: KeyTable, head: str, prefix: str, tensors: Iterable[str]
) -> tuple[KeyTable, str]:
    """Moves the head to e.g. `fc.1`, if that holds the only weights below `fc`.

    The head is then the only layer with weights in a Sequential, usually after a dropout.
    """
    start = f"{prefix}{head}."
    inner = [name.removeprefix(start) for name in tensors if name.startswith(start)]
    places = {name.rpartition(".")[0] for name in inner if name.endswith(("weight", "bias"))}
    place = places.pop() if len(places) == 1 else ""
    if not place.isdecimal() or place == "0":
        return table, head
    moved = f"{head}.{place}"
    keys = {key: moved + key.removeprefix(head) for key in table if key.startswith(f"{head}.")}
    return {keys.get(key, key): path for key, path in table.items()}, moved


def _rest(table: KeyTable, tensors: Mapping[str, Tensor], prefixes: Sequence[str]) -> list[str]:
    """Lists tensors that are not the network's, but in the same dicts or under its prefix."""
    own = {prefix + key for prefix in prefixes for key in table}
    groups = {tensors[name].group for name in own & tensors.keys()}
    prefix = prefixes[0] or None
    return [
        name
        for name, tensor in tensors.items()
        if name not in own
        and not name.endswith(COUNTER)
        and (tensor.group in groups or (prefix and name.startswith(prefix)))
    ]


def shapes(teacher: Teacher) -> Any:
    """Returns the shapes of the teacher's variables."""
    image = jax.ShapeDtypeStruct((1, *teacher.image_size), jnp.float32)
    return jax.eval_shape(teacher.model.init, jax.random.key(0), image)


def prefixes(table: Mapping[str, Any], tensors: Iterable[str]) -> Counter[str]:
    """Counts the table's keys that follow each prefix in the file."""
    counts: Counter[str] = Counter()
    for key in tensors:
        parts = key.split(".")
        for cut in range(len(parts)):
            if ".".join(parts[cut:]) in table:
                counts["".join(f"{part}." for part in parts[:cut])] += 1
    return counts


def _problems(
    table: KeyTable,
    abstract: Any,
    tensors: Mapping[str, Tensor],
    prefix: str,
    unexpected: Sequence[str],
) -> dict[str, list[str]]:
    given = {key: tensors[prefix + key] for key in table if prefix + key in tensors}
    mis_shaped = []
    for key in given:
        shape, wanted = given[key].shape, torch_shape(at(abstract, table[key]).shape)
        if shape != wanted:
            mis_shaped.append(f"{key} {shape} instead of {wanted}")
    problems = {
        "missing": sorted(table.keys() - given.keys()),
        "unexpected": sorted(unexpected),
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
    if best.problems.keys() == {"unexpected"}:
        return (
            f"the checkpoint fits {name}, but holds tensors beside it that may be part of the "
            f"network: {listed}; if they are not, say --ignore=PATTERN"
        )
    if arch == "auto":
        return (
            f"the checkpoint fits no architecture that is built in; {name} is nearest: {listed}. "
            "Any other network is taken by its own graph: port_torch --model=timm:NAME, "
            "torchvision:NAME or package.module:function with this checkpoint, or --model=NET.pt2"
        )
    return (
        f"the checkpoint does not fit {name}: {listed}; choose another --arch (auto tries all), "
        "another file, or say --image_size if the stem takes other channels"
    )


def _listed(what: str, keys: list[str]) -> str:
    return f"{len(keys)} {what}: {few(keys)}"


def few(keys: Sequence[str]) -> str:
    """Lists the first names, and how many more there are."""
    more = f" and {len(keys) - _MAX_LISTED} more" if len(keys) > _MAX_LISTED else ""
    return ", ".join(keys[:_MAX_LISTED]) + more


def convert(found: Match, tensors: dict[str, Tensor]) -> Any:
    """Puts every tensor in its place.

    Args:
        found: result of `match` for these tensors.
        tensors: tensors of the checkpoint by dotted name; those of the network are removed one by
            one, so that no weight is in memory twice.

    Returns:
        The teacher's variables, float32.

    Raises:
        UserError: a tensor cannot be read, or has values that are not finite.
    """
    variables: dict[str, Any] = {}
    for key, path in found.table.items():
        name = found.prefix + key
        tensor = tensors.pop(name)
        if not tensor.dtype.lower().startswith(_FLOATS):
            raise UserError(f"{name} has values of type {tensor.dtype}; port unquantized weights")
        value = from_torch(torch_file.load(name, tensor))
        if not np.isfinite(value).all():
            raise UserError(f"{name} has values that are not finite; no network computes with them")
        put(variables, path, jnp.array(value, jnp.float32))  # a contiguous copy
    return variables
