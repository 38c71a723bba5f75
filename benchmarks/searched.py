r"""Runs one search on a tabular space, and looks up the true accuracy of what it finds.

    python -m benchmarks.searched --space=nasbench201 --table=nas_bench_201_cifar10.json \
        --config=configs/nasbench201_darts.py --data=synthetic:WORKDIR --out=DIR

`--config` has strategy and settings of the search; `--data` is that of benchmarks.ranking:
`synthetic:WORKDIR`, `real` or `noise`. DIR gets the files of the search stage, and `searched.json`.
To continue an interrupted run, run the same command again.

`--limits=40e6,100e6` looks up a choice for each limit on the MACs of the table's networks instead:
of the architectures that the search has scored and that keep the limit, the one with the best
score, which is on the Pareto front. `--config.search.objective=pareto` searches for all at once.
"""

from datafree_nas.runtime import terminal

if __name__ == "__main__":
    terminal.prepare()  # before the imports, which take seconds

from pathlib import Path

import numpy as np
from absl import app, flags
from ml_collections import config_flags

from benchmarks import budgets, inputs, results, tabular
from datafree_nas import spaces
from datafree_nas.runtime import checkpoint, compiled, lock
from datafree_nas.runtime.errors import UserError, did_you_mean, exit_cleanly
from datafree_nas.runtime.files import make_directory, read_jsonl
from datafree_nas.runtime.flags import parse
from datafree_nas.runtime.interrupt import deferred_signals
from datafree_nas.runtime.memory import keep_memory
from datafree_nas.runtime.workdir import HISTORY
from datafree_nas.search import architecture_file
from datafree_nas.search.run import search
from datafree_nas.spaces.space import Space

_DEFAULT = Path(__file__).parents[1] / "configs" / "nasbench201_darts.py"

_CONFIG = config_flags.DEFINE_config_file("config", None, "default: configs/nasbench201_darts.py")
_SPACE = flags.DEFINE_enum("space", "nasbench201", sorted(tabular.FIELDS), "of the table")
_TABLE = flags.DEFINE_string("table", None, "JSON file of true accuracies", required=True)
_DATA = flags.DEFINE_string("data", None, "what is searched on, see above", required=True)
_TEACHER = flags.DEFINE_string("teacher", "", "directory; default: WORKDIR/teacher")
_IMAGES = flags.DEFINE_integer("images", 0, "the first so many; 0: all", lower_bound=0)
_LIMITS = flags.DEFINE_list("limits", [], "MACs of the table's networks, see above")
_OUT = flags.DEFINE_string("out", None, "directory of the search", required=True)


def _run() -> None:
    keep_memory()
    full_size = spaces.create_space(_SPACE.value)  # of the networks in the table
    limits = _limits(full_size)
    config, kind = _CONFIG.value, _DATA.value.partition(":")[0]
    if kind not in inputs.KINDS:
        raise UserError(f"--data={_DATA.value} is unknown{did_you_mean(kind, inputs.KINDS)}")
    if config.search.space.name != _SPACE.value:
        raise UserError(f"the config searches {config.search.space.name}, not {_SPACE.value}")
    table = tabular.load(_SPACE.value, Path(_TABLE.value))
    found = inputs.load(_DATA.value, _TEACHER.value, _IMAGES.value, config)
    out = make_directory(Path(_OUT.value))
    compiled.keep()
    with lock.one_run(out), deferred_signals():
        inputs.check_settings(out, config, [_SPACE, _DATA, _TEACHER, _IMAGES])
        space, file = inputs.space(config), out / architecture_file.FILE
        if not file.exists():
            search(
                out,
                space,
                found.labeller,
                found.images,
                config.search,
                config.seed,
            )
        checkpoint.discard(out / "working")
    said = {"strategy": config.search.strategy, "data": kind, "seed": config.seed}
    if limits:
        history = read_jsonl(out / HISTORY)
        rows = budgets.look_up(history, limits, table, full_size)
    else:
        architecture = space.encode(architecture_file.load(file, space))
        rows = [{"name": config.search.strategy, **table.found(architecture)}]
    results.report(rows, said, out / "searched.json")


def _limits(space: Space) -> list[float]:
    """Reads the flag, and checks that some network of the table keeps each limit."""
    least, _ = space.macs_cost.bounds(space.has)
    try:
        limits = [float(text) for text in _LIMITS.value]
    except ValueError:
        limits = [np.nan]
    if not all(limit >= least for limit in limits):
        raise UserError(
            f"--limits={','.join(_LIMITS.value)}: each must be a number of MACs, at least "
            f"{least:g}, which the smallest network has"
        )
    return limits


def main(_argv: list[str]) -> None:
    """Searches as the flags say."""
    exit_cleanly(_run, resume="Run the same command again to go on.")


def _parse(argv: list[str]) -> list[str]:
    return parse(argv, default_config=str(_DEFAULT))


if __name__ == "__main__":
    app.run(main, flags_parser=_parse)
