r"""Measures how well architectures are ranked, against a table of their true accuracies.

    python -m benchmarks.ranking --space=nasbench201 --table=nas_bench_201_cifar10.json \
        --data=synthetic:WORKDIR --out=DIR

`--data` says what ranks them: a supernet trained on the images that a run has synthesized
(`synthetic:WORKDIR`), on natural images (`real`, those of `--config.data.source`) or on noise
(`noise`), labelled by the teacher in `--teacher=DIR` (WORKDIR/teacher if not given); a zero-cost
proxy (`proxy:NAME`); or chance (`random`). DIR gets `scores.jsonl`, one architecture a line, from
which benchmarks.ranking_table makes tables and plots. To continue an interrupted run, run the same
command again.

The supernet is that of the space's SPOS experiment, `configs/SPACE_spos.py`; overrides such as
`--config.search.train.steps=2000` change it. For tables see benchmarks/tabular.py, for figures
benchmarks/rank_statistics.py.
"""

from datafree_nas.runtime import terminal

if __name__ == "__main__":
    terminal.prepare()  # before the imports, which take seconds

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags
from ml_collections import ConfigDict, config_flags
from rich.console import Console

from benchmarks import inputs, proxies, rank_statistics, results, supernet, tabular
from datafree_nas.runtime import checkpoint, compiled, lock, seeds
from datafree_nas.runtime.errors import UserError, did_you_mean, exit_cleanly
from datafree_nas.runtime.files import (
    make_directory,
    read_jsonl,
    write_jsonl,
)
from datafree_nas.runtime.flags import parse
from datafree_nas.runtime.interrupt import deferred_signals
from datafree_nas.runtime.memory import keep_memory
from datafree_nas.runtime.processes import check_stop
from datafree_nas.runtime.progress import ProgressBar

# encoded architectures -> named numbers of each: its score, or the parts that the score is made of
Scorer = Callable[[list[str]], list[dict[str, float]]]

_CHUNK = 10  # architectures between two checks for a signal
_SAVED = 100  # architectures between two writes of the file
_WIDTH = 120  # of the table, if there is no terminal

_CONFIG = config_flags.DEFINE_config_file("config", None, "default: configs/SPACE_spos.py")
_SPACE = flags.DEFINE_enum("space", "nasbench201", sorted(tabular.FIELDS), "of the table")
_TABLE = flags.DEFINE_string("table", None, "JSON file of true accuracies", required=True)
_DATA = flags.DEFINE_string("data", None, "what ranks, see above", required=True)
_TEACHER = flags.DEFINE_string("teacher", "", "directory; default: WORKDIR/teacher")
_IMAGES = flags.DEFINE_integer("images", 0, "the first so many; 0: all", lower_bound=0)
_HALF = flags.DEFINE_enum("half", "report", tabular.HALVES, "of the table's architectures")
_COUNT = flags.DEFINE_integer("count", 1000, "architectures of that half; 0: all", lower_bound=0)
_OUT = flags.DEFINE_string("out", None, "directory for scores and progress", required=True)


def _run() -> None:
    keep_memory()
    config = _CONFIG.value
    table = tabular.load(_SPACE.value, Path(_TABLE.value))
    chosen = table.half(_HALF.value).drawn(_COUNT.value, config.seed)
    make = _maker(_DATA.value, config)
    out = make_directory(Path(_OUT.value))
    compiled.keep()
    with lock.one_run(out), deferred_signals():
        inputs.check_settings(out, config, [_SPACE, _DATA, _TEACHER, _IMAGES, _HALF, _COUNT])
        scores = _score(out, chosen.names, partial(make, out / "working"))
        checkpoint.discard(out / "working")
    values = np.array([row["score"] for row in scores])
    found = rank_statistics.measure(values, chosen.accuracy, table.accuracy)
    low, high = rank_statistics.tau_interval(values, chosen.accuracy)
    row = {"name": _DATA.value, **found, "tau_low": low, "tau_high": high}
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    said = {"space": _SPACE.value, "half": _HALF.value, "seed": config.seed}
    results.report([row], {**said, "architectures": len(scores)}, out / "ranking.json", console)


def _score(out: Path, names: list[str], make: Callable[[], Scorer]) -> list[dict[str, Any]]:
    """Scores these architectures, except those that an earlier process has scored."""
    file = out / "scores.jsonl"
    found = read_jsonl(file)
    if len(found) < len(names):
        scorer = make()
        bar = ProgressBar("score", len(names), "architectures", len(found))
        try:
            for start in range(len(found), len(names), _CHUNK):
                part = names[start : start + _CHUNK]
                pairs = zip(part, scorer(part), strict=True)
                found += [{"architecture": name, **numbers} for name, numbers in pairs]
                bar.update(len(found), {})
                if len(found) % _SAVED == 0:
                    write_jsonl(file, found)
                check_stop()
        finally:
            write_jsonl(file, found)
            bar.close()
    if "score" not in found[0]:
        parts = [{k: v for k, v in row.items() if k != "architecture"} for row in found]
        totals = proxies.scores(parts)
        found = [{**row, "score": float(s)} for row, s in zip(found, totals, strict=True)]
        write_jsonl(file, found)
    return found


def _maker(data: str, config: ConfigDict) -> Callable[[Path], Scorer]:
    """Checks what `--data` names, before any work, and returns a function that makes its scorer."""
    kind, _, place = data.partition(":")
    kinds = (*inputs.KINDS, "proxy", "random")
    if kind not in kinds:
        raise UserError(f"--data={data} is unknown{did_you_mean(kind, kinds)}")
    if kind == "proxy" and place not in proxies.PROXIES:
        raise UserError(f"--data: no proxy {place!r}{did_you_mean(place, proxies.PROXIES)}")
    if kind == "proxy" or kind == "random":
        return lambda _working: _without_training(place or kind, config)
    found = inputs.load(data, _TEACHER.value, _IMAGES.value, config)
    return lambda working: supernet.train(
        working, inputs.space(config), found, config.search, config.seed
    )


def _without_training(name: str, config: ConfigDict) -> Scorer:
    """Builds the scorer of a proxy, or of chance."""
    space, key = inputs.space(config), seeds.key_for(config.seed, "ranking")

    def chance(names: list[str]) -> list[dict[str, float]]:
        text = [np.frombuffer(each.encode(), np.uint8) for each in names]
        return [{"score": float(np.random.default_rng([config.seed, *t]).random())} for t in text]

    def proxy(names: list[str]) -> list[dict[str, float]]:
        measure = proxies.PROXIES[name]
        return [measure(space, space.decode(each), key) for each in names]

    return chance if name == "random" else proxy


def main(_argv: list[str]) -> None:
    """Ranks as the flags say."""
    exit_cleanly(_run, resume="Run the same command again to go on.")


def _parse(argv: list[str]) -> list[str]:
    """Parses the flags; the default config is that of the space."""
    names = [a.partition("=")[2] for a in argv if a.lstrip("-").startswith("space=")]
    root = Path(__file__).parents[1] / "configs"
    file = root / f"{(names or ['nasbench201'])[-1]}_spos.py"
    return parse(argv, default_config=str(file) if file.exists() else "")


if __name__ == "__main__":
    app.run(main, flags_parser=_parse)
