r"""Runs one search on a tabular space, and looks up the true accuracy of what it finds.

    python -m benchmarks.searched --space=nasbench201 --table=nas_bench_201_cifar10.json \
        --config=configs/nasbench201_darts.py --data=synthetic:WORKDIR --out=DIR

`--config` has strategy and settings of the search; `--data` is that of benchmarks.ranking:
`synthetic:WORKDIR`, `real` or `noise`. DIR gets the files of the search stage, and `searched.json`.
To continue an interrupted run, run the same command again.
"""

from datafree_nas.runtime import terminal

if __name__ == "__main__":
    terminal.prepare()  # before the imports, which take seconds

from pathlib import Path

import numpy as np
from absl import app, flags
from ml_collections import ConfigDict, config_flags

from benchmarks import inputs, results, tabular
from datafree_nas.runtime import checkpoint, compiled, lock
from datafree_nas.runtime.errors import UserError, did_you_mean, exit_cleanly
from datafree_nas.runtime.files import make_directory
from datafree_nas.runtime.flags import parse
from datafree_nas.runtime.interrupt import deferred_signals
from datafree_nas.runtime.memory import keep_memory
from datafree_nas.search import architecture_file
from datafree_nas.search.run import search

_DEFAULT = Path(__file__).parents[1] / "configs" / "nasbench201_darts.py"

_CONFIG = config_flags.DEFINE_config_file("config", None, "default: configs/nasbench201_darts.py")
_SPACE = flags.DEFINE_enum("space", "nasbench201", sorted(tabular.FIELDS), "of the table")
_TABLE = flags.DEFINE_string("table", None, "JSON file of true accuracies", required=True)
_DATA = flags.DEFINE_string("data", None, "what is searched on, see above", required=True)
_TEACHER = flags.DEFINE_string("teacher", "", "directory; default: WORKDIR/teacher")
_IMAGES = flags.DEFINE_integer("images", 0, "the first so many; 0: all", lower_bound=0)
_OUT = flags.DEFINE_string("out", None, "directory of the search", required=True)


def _run() -> None:
    keep_memory()
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
    architecture = space.encode(architecture_file.load(file, space))
    results.report([_row(architecture, table, config)], {}, out / "searched.json")


def _row(architecture: str, table: tabular.Table, config: ConfigDict) -> results.Row:
    accuracy = float(table.accuracy[table.names.index(architecture)])
    return {
        "name": config.search.strategy,
        "data": _DATA.value.partition(":")[0],
        "seed": config.seed,
        "architecture": architecture,
        "accuracy": accuracy,
        "regret": float(table.accuracy.max()) - accuracy,
        "percentile": 100 * float(np.mean(table.accuracy < accuracy)),
    }


def main(_argv: list[str]) -> None:
    """Searches as the flags say."""
    exit_cleanly(_run, resume="Run the same command again to go on.")


def _parse(argv: list[str]) -> list[str]:
    return parse(argv, default_config=str(_DEFAULT))


if __name__ == "__main__":
    app.run(main, flags_parser=_parse)
