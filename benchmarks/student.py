r"""Trains a known network, or one that a search has found, on synthetic images alone.

    python -m benchmarks.student --arch=cifar_resnet20 --dataset=WORKDIR/synthetic \
        --teacher=DIR --out=DIR --config.data.source=tfds:cifar10

This shows what synthetic images are worth by themselves, without a search on them: the accuracy of
a network that has seen nothing else, on the test images of `--config.data.source`. The network is
one of the teachers' registry. With `--found=DIR/architecture.json` it is the one of a search, at
the size of `config.search.space`, which may differ from the size that was searched. The recipe is
`config.student.train` of `--config` (configs/cifar10_spos.py if not given). Without `--dataset` the
network is trained on the natural training images, for comparison. DIR gets `result.json` and the
metrics. To continue an interrupted run, run the same command again.
"""

from datafree_nas.runtime import terminal

if __name__ == "__main__":
    terminal.prepare()  # before the imports, which take seconds

from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from absl import app, flags
from ml_collections import ConfigDict, config_flags

from benchmarks import results
from datafree_nas import spaces, teachers
from datafree_nas.data import sources
from datafree_nas.data.images import Images
from datafree_nas.data.labeller import Labeller
from datafree_nas.layers import initial
from datafree_nas.layers.initial import Rule
from datafree_nas.runtime import checkpoint, compiled, lock, seeds
from datafree_nas.runtime.errors import UserError, exit_cleanly
from datafree_nas.runtime.files import make_directory
from datafree_nas.runtime.flags import parse
from datafree_nas.runtime.interrupt import deferred_signals
from datafree_nas.runtime.memory import keep_memory
from datafree_nas.search import architecture_file
from datafree_nas.synthesis import store
from datafree_nas.teachers import Teacher
from datafree_nas.training import fit

_DEFAULT = Path(__file__).parents[1] / "configs" / "cifar10_spos.py"

_CONFIG = config_flags.DEFINE_config_file("config", None, "default: configs/cifar10_spos.py")
_ARCH = flags.DEFINE_string("arch", "cifar_resnet20", "in the registry of teachers")
_FOUND = flags.DEFINE_string("found", "", "architecture.json of a search; instead of --arch")
_DATASET = flags.DEFINE_string("dataset", "", "WORKDIR/synthetic; none: natural images")
_TEACHER = flags.DEFINE_string("teacher", None, "directory of the labelling teacher", required=True)
_IMAGES = flags.DEFINE_integer("images", 0, "the first so many; 0: all", lower_bound=0)
_OUT = flags.DEFINE_string("out", None, "directory for progress and result", required=True)


def _run() -> None:
    keep_memory()
    config = _CONFIG.value
    teacher, variables = teachers.load(Path(_TEACHER.value))
    name, model, rule = _network(config, teacher)
    test, images = _natural(config, teacher, "test"), _images(config, teacher)
    out = make_directory(Path(_OUT.value))
    labeller = teachers.labeller(teacher, variables)
    compiled.keep()
    with lock.one_run(out), deferred_signals():
        trained = fit.fit(
            model,
            images,
            labeller,
            config.student.train,
            seeds.key_for(config.seed, "student"),
            label=f"train {name}",
            directory=out,
            rule=rule,
        )
    found = fit.accuracy(Labeller(partial(_logits, model), trained, labeller.preprocessing), test)
    row = {"name": name, "images": images.size, "test_accuracy": found, "of": test.size}
    results.report([row], {"seed": config.seed}, out / "result.json")
    checkpoint.discard(out / "working")


def _network(config: ConfigDict, teacher: Teacher) -> tuple[str, nn.Module, Rule]:
    """Builds the network; returns its name, itself, and the rule of its initial weights."""
    if not _FOUND.value:
        settings = {n: getattr(teacher, n) for n in ("num_classes", "image_size", "mean", "std")}
        known = teachers.create_teacher(_ARCH.value, **settings)
        return _ARCH.value, known.model, initial.fan_in
    sizes: Any = {"num_classes": teacher.num_classes, "image_size": teacher.image_size}
    space = spaces.create_space(**config.search.space, **sizes).regularized(config.student.train)
    try:
        found = architecture_file.load(Path(_FOUND.value), space)
    except UserError as error:
        raise UserError(f"--found: {error}, or choose the config that it is of") from None
    return space.encode(found), space.network(found), space.initial


def _logits(model: nn.Module, variables: Any, x: jax.Array) -> Any:
    return model.apply(variables, x, train=False)


def _natural(config: ConfigDict, teacher: Teacher, split: str) -> Images:
    data: Any = config.data
    if not data.source:
        raise UserError("the student is tested on real images; set config.data.source")
    request = sources.request_of(data, teacher.image_size, teacher.num_classes)
    return sources.load_up_to(request, split, data.memory_gb)


def _images(config: ConfigDict, teacher: Teacher) -> Images:
    if _DATASET.value:
        images = store.load_up_to(Path(_DATASET.value), config.data.memory_gb)
    else:
        images = _natural(config, teacher, "train")
    if images.size < _IMAGES.value:
        raise UserError(f"--images={_IMAGES.value}: there are {images.size}")
    return images.take(np.arange(_IMAGES.value)) if _IMAGES.value else images


def main(_argv: list[str]) -> None:
    """Trains what the flags name."""
    exit_cleanly(_run, resume="Run the same command again to go on.")


def _parse(argv: list[str]) -> list[str]:
    return parse(argv, default_config=str(_DEFAULT))


if __name__ == "__main__":
    app.run(main, flags_parser=_parse)
