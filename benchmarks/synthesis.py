"""Speed of the synthesis step against the same loop in PyTorch, in one run on one machine.

    python -m benchmarks.synthesis --json=FILE

Two PyTorch loops are timed: `plain`, eager as the Data-Free-NAS release does it, which also
computes the gradients of the weights and throws them away; and `tuned`, which does not, and saves
what else a line can save (torch_synthesis.py). Random weights and statistics, the same on all
sides. The sides take turns; figures are medians over the turns, in image-iterations per second.
Compilation and the first turn are not in them. Three minutes on two CPU cores.

All sides compute in float32. On a GPU that is done twice: with full products on all sides
("float32"), and with TensorFloat-32 products on all sides ("tf32").

Run it on a quiet machine: PyTorch's threads wait for one another after every operation, and lose
far more than ours when another program holds a core. On a busy one pin it to a single core, where
all sides lose alike: `taskset -c 1 python -m benchmarks.synthesis`.
"""

import copy
import os
import sys
from typing import Any

import jax
import jax.numpy as jnp
from absl import app, flags

from benchmarks import results, with_torch
from benchmarks.turns import Advance, take_turns
from datafree_nas import teachers
from datafree_nas.interop.torch_file import Tensor
from datafree_nas.runtime import backend, mesh
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.errors import exit_cleanly
from datafree_nas.runtime.flags import parse
from datafree_nas.synthesis import synthesizer
from datafree_nas.teachers import Teacher
from datafree_nas.teachers import port as teacher_port
from datafree_nas.teachers.architectures import cifar_resnet

_JSON = flags.DEFINE_string("json", "", "file to write; none: only the table")
_ARCH = flags.DEFINE_list("arch", "cifar_resnet20,cifar_resnet56", "CIFAR ResNets")
_BATCH = flags.DEFINE_integer("batch", 64, "images", lower_bound=1)
_ITERATIONS = flags.DEFINE_integer("iterations", 10, "of a side's turn", lower_bound=1)
_REPEATS = flags.DEFINE_integer("repeats", 5, "turns of each side", lower_bound=1)

SCHEDULE = 3000  # iterations of the learning rate's schedule; nothing runs to its end


class Settings(dict[str, Any]):
    """A config without ml_collections, which a machine for benchmarks need not have."""

    __getattr__ = dict.__getitem__


def synthesis_config() -> Settings:
    """`config.synthesis` as in configs/common.py, on a canvas as for CIFAR."""
    return Settings(
        margin=4,
        noise="white",
        flip=True,
        dtype="float32",
        learning_rate=0.25,
        warmup=100,
        betas=(0.5, 0.9),
        cross_entropy=1.0,
        batch_norm=0.01,
        first_batch_norm=10.0,
        batch_norm_group=0,
        tv_l1=0.0,
        tv_l2=1e-4,
        l2=1e-5,
        competition=0.0,
    )


def ours(teacher: Teacher, variables: Any, config: Config, batch: int) -> Advance:
    """Our side, as the synthesis stage runs it."""
    step = synthesizer.make_step(teacher, config, batch=batch, pool=1, iterations=SCHEDULE)
    run = backend.repeat(step)
    frozen = jax.device_put(synthesizer.Frozen(variables), mesh.replicated())
    labels = jnp.arange(batch) % teacher.num_classes
    state = synthesizer.init(jax.random.key(0), labels, teacher, config)

    def advance(n: int) -> None:
        nonlocal state
        state, _ = jax.block_until_ready(run(state, frozen, n))

    return advance


def theirs(model: Any, teacher: Teacher, config: Config, batch: int, tuned: bool) -> Advance:
    """PyTorch's side, with a copy of the model."""
    import torch

    from benchmarks.torch_synthesis import Loop

    device = with_torch.device()
    height, width, channels = teacher.image_size
    pixels = torch.randn(batch, channels, height + config.margin, width + config.margin)
    labels = torch.arange(batch, device=device) % teacher.num_classes
    model = copy.deepcopy(model)
    loop = Loop(model, teacher, config, pixels.to(device), labels, SCHEDULE, tuned=tuned)

    def advance(n: int) -> None:
        for _ in range(n):
            loop.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return advance


def compare(arch: str, batch: int, iterations: int, repeats: int, kind: str) -> list[results.Row]:
    """One row against each PyTorch loop; rates in image-iterations per second.

    Args:
        arch: a CIFAR ResNet.
        batch: images.
        iterations: of a turn.
        repeats: turns of each side.
        kind: of products, as `with_torch.products` takes it.
    """
    from benchmarks import torch_resnet

    teacher, config = teachers.create(arch), synthesis_config()
    model = torch_resnet.random(cifar_resnet.ARCHITECTURES[arch], teacher.num_classes)
    with with_torch.products(kind):
        sides = {
            "ours": ours(teacher, port(teacher, model), config, batch),
            "plain": theirs(model, teacher, config, batch, tuned=False),
            "tuned": theirs(model, teacher, config, batch, tuned=True),
        }
        first, seconds = take_turns(sides, iterations, repeats)
    rate = {name: batch * iterations / s for name, s in seconds.items()}
    return [
        {
            "name": f"{arch} vs {other}" + (f", {kind}" if kind != "float32" else ""),
            "ours": rate["ours"],
            "other": rate[other],
            "ratio": rate["ours"] / rate[other],
            "ours_first_seconds": first["ours"],
            "other_first_seconds": first[other],
            "products": kind,
        }
        for other in ("plain", "tuned")
    ]


def port(teacher: Teacher, model: Any) -> Any:
    """The weights of a PyTorch model as variables of ours."""
    tensors = {
        name: Tensor(tuple(tensor.shape), "float32", tensor.numpy)
        for name, tensor in model.state_dict().items()
    }
    return teacher_port.convert(teacher_port.match(teacher.arch, tensors), tensors)


def _settings() -> results.Row:
    import torch

    return {
        "batch": _BATCH.value,
        "dtype": "float32",
        "iterations": _ITERATIONS.value,
        "repeats": _REPEATS.value,
        "jax": jax.__version__,
        "torch": torch.__version__,
        "load": round(os.getloadavg()[0], 2),  # of other programs, as nothing has run here yet
    }


def _run() -> None:
    path = results.destination(_JSON.value)
    for arch in _ARCH.value:
        teachers.create(arch)
    with_torch.check()
    settings = _settings()
    rows = []
    for kind in with_torch.kinds():
        for arch in _ARCH.value:
            print(f"timing {arch}, {kind}", file=sys.stderr, flush=True)
            rows += compare(arch, _BATCH.value, _ITERATIONS.value, _REPEATS.value, kind)
    results.report(rows, settings, path)


def main(_argv: list[str]) -> None:
    """Times what the flags name."""
    exit_cleanly(_run)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
