r"""Measures how long every op of a search space takes on this device: a table for the search.

    python -m benchmarks.latency --config=configs/cifar10_spos.py --out=table.json
    python -m benchmarks.latency --config=configs/cifar10_spos.py --out=table.json \
        --runtime=litert --threads=1 --dtype=int8

Give the same `--config` and overrides as to the search: they set the space, the image size and the
classes. docs/latency.md says how the search uses the table and what the check tells.

Every op is compiled on its own, in eval mode, by JAX or for a runtime that networks are shipped
with (extras `[onnx]` and `[tflite]`). The file is described in
datafree_nas/spaces/latency.py. A few random networks serve to find the time that is spent outside
of the ops. `--checks` others are measured and predicted; the printed table shows both.
"""

from datafree_nas.runtime import terminal

if __name__ == "__main__":
    terminal.prepare()  # before the imports, which take seconds

import datetime
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from absl import app, flags
from ml_collections import config_flags
from scipy import stats

from benchmarks import latency_model, results, stopwatch
from benchmarks.programs import Call, Program, with_jax
from benchmarks.runtimes import RUNTIMES, with_runtime
from datafree_nas import plan
from datafree_nas.exports import formats
from datafree_nas.runtime.errors import UserError, exit_cleanly
from datafree_nas.runtime.files import write_json
from datafree_nas.runtime.flags import parse
from datafree_nas.runtime.progress import ProgressBar
from datafree_nas.spaces import latency

T = TypeVar("T")

_DEFAULT = Path(__file__).parents[1] / "configs" / "digits_spos.py"

_CONFIG = config_flags.DEFINE_config_file(
    "config", help_string="an experiment, as main takes it; default: configs/digits_spos.py"
)
_OUT = flags.DEFINE_string("out", None, "the table, a JSON file", required=True)
_BATCH = flags.DEFINE_integer("batch", 1, "images of a call", lower_bound=1)
_RUNTIME = flags.DEFINE_enum("runtime", "jax", ["jax", *RUNTIMES], "what runs the networks")
_THREADS = flags.DEFINE_integer(
    "threads", 0, "of a call, not with --runtime=jax; 0: one for each core", lower_bound=0
)
_DTYPE = flags.DEFINE_enum(
    "dtype",
    "float32",
    ["float32", "bfloat16", "float16", "int8"],
    "of weights and activations; with a runtime other than jax: float32 or int8",
)
_REPEATS = flags.DEFINE_integer("repeats", 50, "measurements of everything", lower_bound=1)
_CHECKS = flags.DEFINE_integer("checks", 10, "networks to check predictions on", lower_bound=2)


def _summary(checks: list[results.Row]) -> str:
    measured, predicted, macs = (
        np.array([row[field] for row in checks]) for field in ("measured", "predicted", "macs")
    )
    error = np.mean(np.abs(predicted / measured - 1))
    tau, of_macs = (stats.kendalltau(measured, other).statistic for other in (predicted, macs))
    return (
        f"predicted: mean relative error {error:.1%}, Kendall's tau {tau:.2f} "
        f"(MACs alone: tau {of_macs:.2f})"
    )


def _check_flags() -> None:
    """Raises `UserError` if the flags do not fit each other or the runtime is not installed."""
    name, dtype = _RUNTIME.value, _DTYPE.value
    if name == "jax":
        if dtype == "int8":
            raise UserError("--dtype=int8 needs --runtime=onnxruntime or --runtime=litert")
        if _THREADS.present:
            raise UserError("--threads needs --runtime=onnxruntime or --runtime=litert")
        return
    if dtype not in ("float32", "int8"):
        raise UserError(f"--dtype={dtype} needs --runtime=jax; {name} has float32 and int8")
    formats.check_installed(RUNTIMES[name].format, f"--runtime={name}")


def _measure(programs: Sequence[Program], threads: int | None) -> list[float]:
    """Measures the milliseconds of a call of each program."""
    prepare: Callable[[Program], Call] = with_jax
    if threads is not None:
        runtime, int8 = RUNTIMES[_RUNTIME.value], _DTYPE.value == "int8"
        prepare = partial(with_runtime, runtime=runtime, int8=int8, threads=threads)
    calls = [prepare(each) for each in _shown("convert" if threads else "compile", programs)]
    return stopwatch.milliseconds(calls, _shown("measure", range(_REPEATS.value)))


def _shown(label: str, items: Sequence[T]) -> Iterator[T]:
    """Yields the items, and shows how many are done."""
    bar = ProgressBar(label, len(items), "rounds" if isinstance(items, range) else "programs")
    try:
        for done, item in enumerate(items, start=1):
            yield item
            bar.update(done, {})
    finally:
        bar.close()


def _run() -> None:
    path = results.destination(_OUT.value, "out")
    if path is None:
        raise UserError("--out names no file")
    _check_flags()
    space = plan.experiment_of(_CONFIG.value).space
    cores = len(os.sched_getaffinity(0))
    threads = None if _RUNTIME.value == "jax" else _THREADS.value or cores
    weights = "float32" if _DTYPE.value == "int8" else _DTYPE.value
    measure = partial(_measure, threads=threads)
    cost, checks = latency_model.build(space, measure, _BATCH.value, weights, _CHECKS.value)
    how = {"runtime": _RUNTIME.value, "threads": threads}
    how |= {"batch": _BATCH.value, "dtype": _DTYPE.value}
    measured = {"fixed": cost.fixed, "table": cost.table.tolist(), "checks": checks}
    date = {"date": datetime.date.today().isoformat()}
    write_json(path, {**latency.header(space), **how, **measured, **results.origin(), **date})
    rows = [{"name": f"network {i}", **row} for i, row in enumerate(checks, start=1)]
    for row in rows:
        del row["architecture"]
    results.report(rows, {"unit": "ms", **how}, None)
    print(f"{_summary(checks)}\nwritten to {path}")


def main(_argv: list[str]) -> None:
    """Measures the space of the config."""
    exit_cleanly(_run)


if __name__ == "__main__":
    app.run(main, flags_parser=partial(parse, default_config=str(_DEFAULT)))
