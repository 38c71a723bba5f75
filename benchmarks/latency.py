r"""Measures how long every op of a search space takes on this device: a table for the search.

    python -m benchmarks.latency --config=configs/cifar10_spos.py --out=table.json

Give the same `--config` and overrides as to the search: they set the space, the image size and the
classes. docs/latency.md says how the search uses the table and what the check tells.

Every op is compiled on its own, in eval mode; the file is described in
datafree_nas/spaces/latency.py. A few random networks serve to find the time that is spent outside
of the ops. `--checks` others are measured and predicted; the printed table shows both.
"""

from datafree_nas.runtime import terminal

if __name__ == "__main__":
    terminal.prepare()  # before the imports, which take seconds

import datetime
from functools import partial
from pathlib import Path

import numpy as np
from absl import app, flags
from ml_collections import config_flags
from scipy import stats

from benchmarks import latency_model, results, stopwatch
from datafree_nas import plan
from datafree_nas.runtime.errors import UserError, exit_cleanly
from datafree_nas.runtime.files import write_json
from datafree_nas.runtime.flags import parse
from datafree_nas.spaces import latency

_DEFAULT = Path(__file__).parents[1] / "configs" / "digits_spos.py"

_CONFIG = config_flags.DEFINE_config_file(
    "config", help_string="an experiment, as main takes it; default: configs/digits_spos.py"
)
_OUT = flags.DEFINE_string("out", None, "the table, a JSON file", required=True)
_BATCH = flags.DEFINE_integer("batch", 1, "images of a call", lower_bound=1)
_DTYPE = flags.DEFINE_enum(
    "dtype", "float32", ["float32", "bfloat16", "float16"], "of weights and images"
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


def _run() -> None:
    path = results.destination(_OUT.value, "out")
    if path is None:
        raise UserError("--out names no file")
    space = plan.experiment_of(_CONFIG.value).space
    measure = partial(stopwatch.milliseconds, repeats=_REPEATS.value)
    cost, checks = latency_model.build(space, measure, _BATCH.value, _DTYPE.value, _CHECKS.value)
    how = {"batch": _BATCH.value, "dtype": _DTYPE.value}
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
