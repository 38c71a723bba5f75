"""Counts which classifiers of PyTorch's libraries can be teachers, and how exactly.

    python -m benchmarks.torch_coverage --library=timm --out=FILE.jsonl [--part=0/2]

Every model of the library that contains BatchNorm2d gets random weights and statistics, is ported
as `teachers.from_torch` does it, and is compared with itself in PyTorch on random images: logits,
mean and variance at the input of every BatchNorm, and the gradient of a random combination of
logits with respect to the images. Each figure is the largest difference, relative to the largest
value; for a variance, to the largest mean square, since float32 knows no variance far below it.

A model passes with logits and statistics within 1e-4 and gradients within 1e-3. If it does not in
float32, all three are compared in float64 on both sides, and the row keeps both, and how far
PyTorch's own float32 is off: rounding grows over the layers of a network with random weights, and a
value that it moves over a kink, such as ReLU's, changes the gradient.

FILE gets a line for each model; models that it has already are skipped, so an interrupted run goes
on. `--retry` repeats those that failed. `--plain` computes the layers as on accelerators: networks
with many depthwise convolutions compile much faster so, and their rows say it. `--table` only
prints the summary of FILE, and each failure with its reason.
"""

from datafree_nas.runtime import terminal

if __name__ == "__main__":
    terminal.prepare()  # before the imports, which take seconds

import gc
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import jax
from absl import app, flags

from benchmarks import torch_libraries, torch_parity, with_torch
from benchmarks.torch_parity import LIMITS, passes
from datafree_nas.runtime import lowering
from datafree_nas.runtime.errors import exit_cleanly
from datafree_nas.runtime.flags import parse

_LIBRARY = flags.DEFINE_enum("library", "timm", torch_libraries.NAMES, "whose models")
_OUT = flags.DEFINE_string("out", None, "file of results, a line for each model", required=True)
_PART = flags.DEFINE_string("part", "0/1", "e.g. 0/2: every second model, from the first on")
_MODELS = flags.DEFINE_list("models", [], "names; none: all with BatchNorm2d")
_RETRY = flags.DEFINE_bool("retry", False, "repeat models that failed")
_PLAIN = flags.DEFINE_bool("plain", False, "layers as on accelerators, see above")
_TABLE = flags.DEFINE_bool("table", False, "only print the summary of FILE")


def _run() -> None:
    path = Path(_OUT.value)
    rows = _read(path)
    if _TABLE.value:
        return _print(rows)
    with_torch.check()
    index, parts = map(int, _PART.value.split("/"))
    names = _MODELS.value or torch_libraries.with_batch_norm(_LIBRARY.value)
    for name in names[index::parts]:
        known = rows.get(name)
        if known and (passes(known) or not _RETRY.value):
            continue
        with lowering.plain() if _PLAIN.value else nullcontext():
            found = torch_parity.row(_LIBRARY.value, name)
        if _PLAIN.value:
            found["plain"] = True
        with path.open("a") as file:
            file.write(json.dumps(found) + "\n")
        print(found, flush=True)
        jax.clear_caches()
        gc.collect()


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """Reads the last line of each model."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {row["name"]: row for row in map(json.loads, lines)}


def _print(rows: dict[str, dict[str, Any]]) -> None:
    good = [row for row in rows.values() if passes(row)]
    print(f"{len(good)} of {len(rows)} models, {100 * len(good) / len(rows):.1f} %")
    print(f"{sum('gradients_float32' in row for row in good)} of them in float64")
    for name in LIMITS:
        worst = max(good, key=lambda row: row[name])
        print(f"worst {name}: {worst[name]:.1e} ({worst['name']})")
    for what in ("port_seconds", "compile_seconds"):
        values = sorted(row[what] for row in good)
        print(f"{what}: median {values[len(values) // 2]}, most {values[-1]}")
    print("| model | why it fails |\n|---|---|")
    for row in sorted(rows.values(), key=lambda row: row["name"]):
        if not passes(row):
            measured = ", ".join(f"{name} {row[name]:.1e}" for name in LIMITS if name in row)
            print(f"| `{row['name']}` | {row.get('error') or 'differences: ' + measured} |")


def main(_argv: list[str]) -> None:
    """Compares what the flags name."""
    exit_cleanly(_run, resume="Run the same command again to go on.")


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
