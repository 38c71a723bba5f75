"""Ports a PyTorch checkpoint: `python -m datafree_nas.port_torch --arch=A --checkpoint=F --out=D`.

Writes Orbax variables and `teacher.json`, which `--config.teacher.checkpoint=D` takes.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
from absl import app, flags

from datafree_nas import teachers
from datafree_nas.runtime import costs
from datafree_nas.runtime.errors import UserError, exit_cleanly
from datafree_nas.runtime.flags import parse
from datafree_nas.teachers import store

_ARCH = flags.DEFINE_string("arch", None, "architecture, e.g. cifar_resnet20", required=True)
_CHECKPOINT = flags.DEFINE_string("checkpoint", None, ".pth, .pt, .th, .safetensors", required=True)
_OUT = flags.DEFINE_string("out", None, "directory to write", required=True)
_CLASSES = flags.DEFINE_integer("num_classes", 0, "classes of the head; 0: as published")
_MEAN = flags.DEFINE_list("mean", None, "per channel, of pixels in [0, 1]; default: as published")
_STD = flags.DEFINE_list("std", None, "per channel, of pixels in [0, 1]; default: as published")


def _changes() -> dict[str, tuple[float, ...]]:
    changes = {}
    for name, flag in (("mean", _MEAN), ("std", _STD)):
        if flag.value is not None:
            try:
                changes[name] = tuple(float(v) for v in flag.value)
            except ValueError:
                raise UserError(f"--{name}={','.join(flag.value)} is no list of numbers") from None
    if len(changes) == 1:
        raise UserError("give both --mean and --std, or neither")
    return changes


def _port() -> None:
    teacher = teachers.create(_ARCH.value, _CLASSES.value, **_changes())
    variables, source = store.port(teacher, Path(_CHECKPOINT.value))
    image = jax.ShapeDtypeStruct((1, *teacher.image_size), jnp.float32)
    macs = costs.macs(teacher.model.apply, variables, image)
    store.save(Path(_OUT.value), teacher, variables, source, macs)
    params = store.count(variables["params"])
    print(f"{teacher.arch}: {params:,} weights, {macs:,} MACs, written to {_OUT.value}")


def main(_argv: list[str]) -> None:
    """Ports what the flags say."""
    exit_cleanly(_port)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
