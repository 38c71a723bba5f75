"""Ports a PyTorch classifier: `python -m datafree_nas.port_torch --model=net.pt2 --out=DIR`.

`--model` takes any network, with its own graph: a file of `torch.export.save`, `timm:NAME`,
`torchvision:NAME`, `package.module:function` (each with `--checkpoint=FILE`), or
`transformers:DIR`. Without `--model`, `--checkpoint` alone is matched with the architectures that
are built in. The directory DIR gets Orbax variables and a description, the card `teacher.json`; use
it as `--config.teacher.checkpoint=DIR`. With `--check`, nothing is written.
"""

from datafree_nas.runtime import terminal

if __name__ == "__main__":
    terminal.prepare()  # before the other imports, which take seconds

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import app, flags

from datafree_nas.data.classes import read_names
from datafree_nas.interop import torch_file
from datafree_nas.interop.torch_names import at
from datafree_nas.runtime import checkpoint
from datafree_nas.runtime.errors import UserError, exit_cleanly
from datafree_nas.runtime.files import as_path, read_json
from datafree_nas.runtime.flags import parse
from datafree_nas.runtime.interrupt import raised_signals
from datafree_nas.runtime.processes import say
from datafree_nas.teachers import port, reference, store
from datafree_nas.teachers.graph import port as graph_port
from datafree_nas.teachers.teacher import Teacher

_MODEL = flags.DEFINE_string(
    "model", "", "FILE.pt2, timm:NAME, torchvision:NAME, transformers:DIR, package.module:function"
)
_ARCH = flags.DEFINE_string("arch", "auto", "e.g. resnet50; auto: the one that fits")
_FACTORY = flags.DEFINE_string("factory", "", "package.module:function, for a model of your own")
_CHECKPOINT = flags.DEFINE_string("checkpoint", "", ".pth, .pt, .th, .safetensors")
_OUT = flags.DEFINE_string("out", None, "directory to write")
_CHECK = flags.DEFINE_bool("check", False, "write nothing; print what would go where")
_PREFIX = flags.DEFINE_string("prefix", "", "where in the file, e.g. model_ema; empty: find it")
_IGNORE = flags.DEFINE_multi_string(
    "ignore",
    [],
    "tensors that are no part of the network, e.g. 'projector.*,queue'; may be repeated",
)
_CLASSES = flags.DEFINE_integer("num_classes", 0, "classes; 0: as the checkpoint's head has")
_NAMES = flags.DEFINE_string("class_names", "", "file with the name of a class on each line")
_IMAGE_SIZE = flags.DEFINE_list("image_size", None, "height,width,channels; default: as published")
_MEAN = flags.DEFINE_list("mean", None, "per channel, of pixels in [0, 1]; default: as published")
_STD = flags.DEFINE_list("std", None, "per channel, of pixels in [0, 1]; default: as published")
_LOGITS = flags.DEFINE_string(
    "check_logits", "", ".npz with images x and the logits y that PyTorch gives; must agree"
)


def _changes() -> dict[str, tuple[Any, ...]]:
    changes: dict[str, tuple[Any, ...]] = {}
    for name, flag, kind in (
        ("image_size", _IMAGE_SIZE, int),
        ("mean", _MEAN, float),
        ("std", _STD, float),
    ):
        if flag.value is not None:
            try:
                changes[name] = tuple(kind(v) for v in flag.value)
            except ValueError:
                raise UserError(f"--{name}={','.join(flag.value)} is no list of numbers") from None
    if ("mean" in changes) != ("std" in changes):
        raise UserError("give both --mean and --std, or neither")
    if len(size := changes.get("image_size", (0, 0, 0))) != 3:
        raise UserError(f"--image_size={size} is not height,width,channels")
    return changes


def _arch() -> str:
    if _FACTORY.value and ":" not in _FACTORY.value:
        raise UserError(f"--factory={_FACTORY.value} is not package.module:function")
    if _FACTORY.value and _ARCH.present:
        raise UserError("give --arch or --factory, not both")
    return _FACTORY.value or _ARCH.value


def _ignore() -> list[str]:
    return [pattern for value in _IGNORE.value for pattern in value.split(",") if pattern]


def _class_names(teacher: Teacher) -> Sequence[str] | None:
    if not _NAMES.value:
        return None
    return read_names(_NAMES.value, teacher.num_classes, "--class_names")


def _out() -> Path:
    """Returns the directory to write: new, empty, or with an earlier port of the same source."""
    if not _OUT.value:
        raise UserError("give --out=DIR to write, or --check to look only")
    out = as_path(_OUT.value)
    checkpoint.check_place(out)
    if out.exists() and not out.is_dir():
        raise UserError(f"--out={out} is a file; name a directory")
    if out.is_dir() and any(out.iterdir()):
        card = read_json(out / store.FILE) if (out / store.FILE).exists() else None
        source = card.get("source") if isinstance(card, dict) else None
        if not isinstance(source, dict) or not _is_same(source):
            raise UserError(f"--out={out} holds something else; name a new directory or remove it")
        store.check_replaceable(out)
    return out


def _is_same(source: dict[str, Any]) -> bool:
    """Returns whether an earlier port is of the file, or else of the name, that the flags give."""
    model, checkpoint_file = _MODEL.value, _CHECKPOINT.value
    of_file = model and graph_port.is_file(model)
    if not of_file and not checkpoint_file:
        return source.get("model") == model
    file = as_path(model if of_file else checkpoint_file)
    return not file.is_file() or source.get("sha256") == torch_file.sha256(file)


def _show(found: port.Match, tensors: dict[str, torch_file.Tensor]) -> None:
    """Prints one line per tensor, and then the tensors that the teacher does not take."""
    taken = {found.prefix + key: path for key, path in found.table.items()}
    width = max(map(len, taken))
    for key, path in taken.items():
        tensor = tensors[key]
        say(
            f"{key:{width}}  {tensor.dtype:8} {tensor.shape!s:22} -> "
            f"{'/'.join(path)} {at(found.abstract, path).shape}"
        )
    for key in sorted(tensors.keys() - taken.keys()):
        if not key.endswith(port.COUNTER):
            say(f"{key:{width}}  not taken")


def _say_settings(
    teacher: Teacher, changes: dict[str, tuple[Any, ...]], otherwise: str, head: str
) -> None:
    """Prints the settings that the port relies on, and where each of them comes from.

    Args:
        teacher: description of the teacher.
        changes: settings that the flags give.
        otherwise: origin of the other settings.
        head: origin of the number of classes.
    """
    say(f"{'classes':10}  {teacher.num_classes!s:22}  {head}")
    for name in ("image_size", "mean", "std"):
        value = ",".join(f"{number:g}" for number in getattr(teacher, name))
        origin = f"given by --{name}" if name in changes else f"{otherwise}, see --{name}"
        say(f"{name:10}  {value:22}  {origin}")


def _say_assumptions(teacher: Teacher, changes: dict[str, tuple[Any, ...]]) -> None:
    """Prints what the port of a checkpoint relies on."""
    _say_settings(teacher, changes, "assumed: as published", "from the checkpoint's head")
    if not _LOGITS.value:
        say(
            f"strides, padding, pooling, activations, epsilon: assumed, as in {teacher.arch}; "
            "--check_logits=FILE.npz compares with logits of your own network"
        )


def _say_source(source: dict[str, str]) -> None:
    if "logits" in source:
        say(source["logits"])
    if "head" in source:
        say(f"head: {source['head']}, the only layer there that has weights")
    if "ignored" in source:
        say(f"ignored, no part of the network: {source['ignored']}")


def _check_only() -> None:
    changes = _changes()
    tensors = torch_file.read(_CHECKPOINT.value)
    found = port.match(_arch(), tensors, _CLASSES.value, _PREFIX.value, _ignore(), **changes)
    _show(found, tensors)
    _say_assumptions(found.teacher, changes)
    if _LOGITS.value:
        say(reference.compare(_LOGITS.value, found.teacher, port.convert(found, tensors)))
    say(f"fits {found.teacher.arch} with {found.teacher.num_classes} classes; nothing was written")


def _port_model() -> None:
    """Ports the network that `--model` names, with its own graph."""
    if _ARCH.present or _FACTORY.value:
        raise UserError("--model says what the network is; leave --arch and --factory out")
    out, changes = None if _CHECK.value else _out(), _changes()
    ported = graph_port.port(
        _MODEL.value, _CHECKPOINT.value, _CLASSES.value, _PREFIX.value, _ignore(), **changes
    )
    teacher, source = ported.teacher, dict(ported.source)
    names = _class_names(teacher) or ported.class_names
    if _LOGITS.value:
        source["logits"] = reference.compare(_LOGITS.value, teacher, ported.variables)
    if out is not None:
        with raised_signals():
            _say_card(store.replace(out, teacher, ported.variables, source, names), out)
    _say_settings(teacher, changes, f"from {_MODEL.value}", "from the network's output")
    _say_source(source)
    if out is None:
        say(f"{teacher.arch} can be a teacher; nothing was written")


def _say_card(card: dict[str, Any], out: Path) -> None:
    say(
        f"{card['arch']}: {card['num_classes']} classes, {card['params']:,} weights, "
        f"{card['macs']:,} MACs, {card['batch_norm_layers']} BatchNorm layers, written to {out}"
    )
    for check in card["checks"]:
        if not check["passed"]:
            say(f"warning: {check['name']}: {check['message']}")


def _port() -> None:
    if _MODEL.value:
        return _port_model()
    if not _CHECKPOINT.value:
        raise UserError(
            "say --model=FILE.pt2 (or timm:NAME and its like, see --help), or --checkpoint=FILE"
        )
    if _CHECK.value:
        return _check_only()
    out, changes = _out(), _changes()
    teacher, variables, source = port.port(
        _arch(), _CHECKPOINT.value, _CLASSES.value, _PREFIX.value, _ignore(), **changes
    )
    names = _class_names(teacher)
    if _LOGITS.value:
        source["logits"] = reference.compare(_LOGITS.value, teacher, variables)
    with raised_signals():
        _say_card(store.replace(out, teacher, variables, source, names), out)
    _say_assumptions(teacher, changes)
    _say_source(source)


def main(_argv: list[str]) -> None:
    """Ports the network that the flags name."""
    exit_cleanly(_port)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
