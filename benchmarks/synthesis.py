"""Compares the speed of the synthesis step with the same loop in PyTorch, on one machine.

    python -m benchmarks.synthesis --json=FILE

Up to three PyTorch loops are timed (torch_synthesis.py). `plain` is eager and in float32 as in the
Data-Free-NAS release; it also computes the gradients of the weights, which nobody uses. `tuned`
does not, and has all other savings that take one line. `best`, only on a GPU, is `tuned` with
torch.compile; if that fails, it is left out with a message. The weights are random and the same on
all sides. The sides take turns; figures are medians over the turns, in image-iterations per second,
without compilation and the first turn.

With `--dtype=bfloat16`, layers compute in it on our side and, by autocast, on the tuned ones. In
float32, a GPU does everything twice: with full products on all sides ("float32"), and with
TensorFloat-32 products on all sides ("tf32").

`flop_floor` and `byte_floor` are the rates that our step would have if only its arithmetic, or only
its memory traffic, took time (floors.py); `of_floor` is our share of the lower one. `peak_gib` is
the most device memory that JAX has used in this process: give a single `--arch` to know its own. On
a GPU, XLA_PYTHON_CLIENT_PREALLOCATE=false leaves memory for PyTorch.

Run it on a quiet machine: PyTorch's threads wait for one another after every operation, and lose
far more than ours when another program uses a core. On a busy machine pin it to a single core,
where all sides lose the same share: `taskset -c 1 python -m benchmarks.synthesis`.
"""

from datafree_nas.runtime import terminal

if __name__ == "__main__":
    terminal.prepare()  # before the imports, which take seconds

import copy
import os
import sys
from typing import Any

import jax
from absl import app, flags

from benchmarks import floors, results, with_torch
from benchmarks.floors import Rates, Work
from benchmarks.json_flag import JSON
from benchmarks.synthesis_side import SCHEDULE, ours, port, synthesis_config
from benchmarks.turns import Advance, take_turns
from datafree_nas import teachers
from datafree_nas.runtime import backend
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.errors import UserError, exit_cleanly
from datafree_nas.runtime.flags import parse
from datafree_nas.runtime.memory import keep_memory
from datafree_nas.runtime.precision import DTYPES
from datafree_nas.teachers import Teacher

_ARCH = flags.DEFINE_list("arch", "cifar_resnet20,cifar_resnet56", "of torch_models.py")
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 0, "side; 0: the teacher's own", lower_bound=0)
_BATCH = flags.DEFINE_integer("batch", 64, "images", lower_bound=1)
_DTYPE = flags.DEFINE_enum("dtype", "float32", DTYPES, "of layers")
_ITERATIONS = flags.DEFINE_integer("iterations", 10, "of a side's turn", lower_bound=1)
_REPEATS = flags.DEFINE_integer("repeats", 5, "turns of each side", lower_bound=1)


def theirs(
    model: Any, teacher: Teacher, config: Config, batch: int, *, tuned: bool, compiled: bool = False
) -> Advance:
    """Builds PyTorch's side, with a copy of the model."""
    import torch

    from benchmarks.torch_synthesis import Loop

    device = with_torch.device()
    height, width, channels = teacher.image_size
    pixels = torch.randn(batch, channels, height + config.margin, width + config.margin).to(device)
    labels = torch.arange(batch, device=device) % teacher.num_classes
    how = {"tuned": tuned, "compiled": compiled}
    loop = Loop(copy.deepcopy(model), teacher, config, pixels, labels, SCHEDULE, **how)

    def advance(n: int) -> None:
        for _ in range(n):
            loop.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return advance


def compare(
    teacher: Teacher, config: Config, batch: int, iterations: int, repeats: int, kind: str
) -> list[results.Row]:
    """Compares our side with each PyTorch loop; rates are in image-iterations per second.

    Args:
        teacher: teacher with an architecture of `torch_models`.
        config: block `config.synthesis` of an experiment.
        batch: number of images of a batch.
        iterations: number of iterations of a turn.
        repeats: number of turns of each side.
        kind: kind of products, as `with_torch.products` takes it.
    """
    from benchmarks import torch_models

    model = torch_models.random(teacher.arch, teacher.num_classes)
    with with_torch.products(kind):
        rates = floors.rates(config.dtype)
        our_side, work = ours(teacher, port(teacher, model), config, batch)
        sides = {
            "ours": our_side,
            "plain": theirs(model, teacher, config, batch, tuned=False),
            "tuned": theirs(model, teacher, config, batch, tuned=True),
        }
        if not backend.on_cpu():
            sides["best"] = theirs(model, teacher, config, batch, tuned=True, compiled=True)
        first, seconds = take_turns(sides, iterations, repeats, may_fail=("best",))
    rate = {name: batch * iterations / s for name, s in seconds.items()}
    limits = {**within(rate["ours"], batch, work, rates), **memory()}
    return [
        {
            "name": f"{teacher.arch} vs {other}" + (f", {kind}" if kind != "float32" else ""),
            "ours": rate["ours"],
            "other": rate[other],
            "ratio": rate["ours"] / rate[other],
            "ours_first_seconds": first["ours"],
            "other_first_seconds": first[other],
            **limits,
        }
        for other in rate
        if other != "ours"
    ]


def within(ours: float, batch: int, work: Work, rates: Rates) -> results.Row:
    """Compares our rate with what the device allows, in image-iterations per second."""
    flop_floor, byte_floor = batch * rates.flops / work.flops, batch * rates.bytes / work.bytes
    return {
        "flop_floor": flop_floor,
        "byte_floor": byte_floor,
        "of_floor": ours / min(flop_floor, byte_floor),
    }


def memory() -> results.Row:
    """Returns the most memory that JAX has used on its device, if the device counts it."""
    statistics = jax.local_devices()[0].memory_stats()
    return {"peak_gib": statistics["peak_bytes_in_use"] / 2**30} if statistics else {}


def _teacher(arch: str) -> Teacher:
    side = _IMAGE_SIZE.value
    return teachers.create_teacher(arch, image_size=(side, side, 3) if side else None)


def _check() -> None:
    """Checks that both sides have all networks, before anything is timed."""
    for arch in _ARCH.value:
        _teacher(arch)
    with_torch.check()
    from benchmarks import torch_models

    for arch in _ARCH.value:
        if arch not in torch_models.ARCHITECTURES:
            known = ", ".join(torch_models.ARCHITECTURES)
            raise UserError(f"--arch: {arch} has no PyTorch side here; these have: {known}")


def _settings() -> results.Row:
    import torch

    return {
        "batch": _BATCH.value,
        "image_size": _IMAGE_SIZE.value or "own",
        "dtype": _DTYPE.value,
        "iterations": _ITERATIONS.value,
        "repeats": _REPEATS.value,
        "jax": jax.__version__,
        "torch": torch.__version__,
        "load": round(os.getloadavg()[0], 2),  # of other programs, as nothing has run here yet
    }


def _run() -> None:
    keep_memory()
    path = results.destination(JSON.value)
    _check()
    settings = _settings()
    rows = []
    for arch in _ARCH.value:
        teacher = _teacher(arch)
        config = synthesis_config(teacher.image_size[0], _DTYPE.value)
        for kind in with_torch.kinds(_DTYPE.value):
            print(f"timing {arch}, {kind}", file=sys.stderr, flush=True)
            rows += compare(teacher, config, _BATCH.value, _ITERATIONS.value, _REPEATS.value, kind)
    results.report(rows, settings, path)


def main(_argv: list[str]) -> None:
    """Times what the flags name."""
    exit_cleanly(_run)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
