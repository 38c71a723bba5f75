"""Ports a PyTorch checkpoint: `python -m datafree_nas.port_torch --checkpoint=F --out=D`.

Writes Orbax variables and `teacher.json`, the card, which `--config.teacher.checkpoint=D` takes.
With `--check` it writes nothing and prints where every tensor would go.
"""

from pathlib import Path
from typing import Any

from absl import app, flags

from datafree_nas.interop import torch_file
from datafree_nas.interop.torch_names import at
from datafree_nas.runtime.errors import UserError, exit_cleanly
from datafree_nas.runtime.flags import parse
from datafree_nas.teachers import port, store

_ARCH = flags.DEFINE_string("arch", "auto", "e.g. resnet50; auto: the one that fits")
_FACTORY = flags.DEFINE_string("factory", "", "package.module:function, for a model of your own")
_CHECKPOINT = flags.DEFINE_string("checkpoint", None, ".pth, .pt, .th, .safetensors", required=True)
_OUT = flags.DEFINE_string("out", None, "directory to write")
_CHECK = flags.DEFINE_bool("check", False, "write nothing; print what would go where")
_PREFIX = flags.DEFINE_string("prefix", "", "where in the file, e.g. model_ema; empty: find it")
_CLASSES = flags.DEFINE_integer("num_classes", 0, "classes; 0: as the checkpoint's head has")
_IMAGE_SIZE = flags.DEFINE_list("image_size", None, "height,width,channels; default: as published")
_MEAN = flags.DEFINE_list("mean", None, "per channel, of pixels in [0, 1]; default: as published")
_STD = flags.DEFINE_list("std", None, "per channel, of pixels in [0, 1]; default: as published")


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


def _show(found: port.Match, tensors: dict[str, torch_file.Tensor]) -> None:
    """One line a tensor, then what the teacher does not take."""
    taken = {found.prefix + key: path for key, path in found.table.items()}
    width = max(map(len, taken))
    for key, path in taken.items():
        tensor = tensors[key]
        print(
            f"{key:{width}}  {tensor.dtype:8} {tensor.shape!s:22} -> "
            f"{'/'.join(path)} {at(found.abstract, path).shape}"
        )
    for key in sorted(tensors.keys() - taken.keys()):
        if not key.endswith(port.COUNTER):
            print(f"{key:{width}}  not taken")
    print(
        f"fits {found.teacher.arch} with {found.teacher.num_classes} classes; nothing was written"
    )


def _check_only() -> None:
    tensors = torch_file.read(Path(_CHECKPOINT.value))
    _show(port.match(_arch(), tensors, _CLASSES.value, _PREFIX.value, **_changes()), tensors)


def _port() -> None:
    if _CHECK.value:
        return _check_only()
    if not _OUT.value:
        raise UserError("give --out=DIR to write, or --check to look only")
    teacher, variables, source = port.port(
        _arch(), Path(_CHECKPOINT.value), _CLASSES.value, _PREFIX.value, **_changes()
    )
    card = store.save(Path(_OUT.value), teacher, variables, source)
    print(
        f"{teacher.arch}: {teacher.num_classes} classes, {card['params']:,} weights, "
        f"{card['macs']:,} MACs, written to {_OUT.value}"
    )
    for check in card["checks"]:
        if not check["passed"]:
            print(f"warning: {check['name']}: {check['message']}")


def main(_argv: list[str]) -> None:
    """Ports what the flags say."""
    exit_cleanly(_port)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
