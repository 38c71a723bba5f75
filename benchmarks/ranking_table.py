r"""Makes tables and plots of rankings, from the raw scores alone.

    python -m benchmarks.ranking_table --space=nasbench201 --table=nas_bench_201_cifar10.json \
        --scores=benchmarks/results --out=DIR [--combine=spos_synthetic+synflow]

Reads the files `SPACE_NAME_seedN.jsonl` in `--scores`, one `{"architecture", "score"}` a line, as
benchmarks.ranking writes them. Every NAME has one row: means over its seeds, and a 95 % interval of
Kendall's tau, which is Student's over seeds or, with a single seed, the bootstrap's over
architectures. `--combine` adds rows that combine several rankings by their log ranks (see
benchmarks/proxies). `--out` gets `ranking.json` and two plots, `tau.svg` and `accuracy.svg`.
"""

from datafree_nas.runtime import terminal

if __name__ == "__main__":
    terminal.prepare()  # before the imports, which take seconds

import re
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
from absl import app, flags
from matplotlib import pyplot
from rich.console import Console
from scipy import stats

from benchmarks import proxies, rank_statistics, results, tabular
from datafree_nas.runtime.errors import UserError, exit_cleanly
from datafree_nas.runtime.files import make_directory, read_jsonl
from datafree_nas.runtime.flags import parse

_SPACE = flags.DEFINE_enum("space", "nasbench201", sorted(tabular.FIELDS), "of the table")
_TABLE = flags.DEFINE_string("table", None, "JSON file of true accuracies", required=True)
_SCORES = flags.DEFINE_string("scores", "benchmarks/results", "directory of the scores")
_COMBINE = flags.DEFINE_list("combine", "", "rankings of several: NAME+NAME,...")
_OUT = flags.DEFINE_string("out", "", "directory for ranking.json and plots; none: only print")

_WIDTH = 120  # of the table, if there is no terminal

Scores = Mapping[str, float]  # by encoded architecture


def read(directory: Path, space: str) -> dict[str, dict[int, Scores]]:
    """Reads all scores of a space, by name and seed.

    Raises:
        UserError: there are none, or a line has no architecture and score.
    """
    found: dict[str, dict[int, Scores]] = defaultdict(dict)
    for file in sorted(directory.glob(f"{space}_*_seed*.jsonl")):
        match = re.fullmatch(rf"{space}_(.+)_seed(\d+)", file.stem)
        if match:
            try:
                scores = {row["architecture"]: row["score"] for row in read_jsonl(file)}
            except (KeyError, TypeError, ValueError):
                raise UserError(f"{file} has a line without architecture and score") from None
            found[match[1]][int(match[2])] = scores
    if not found:
        raise UserError(f"no {space}_NAME_seedN.jsonl in {directory}; see benchmarks.ranking")
    return found


def combined(found: Mapping[str, Mapping[int, Scores]], names: list[str]) -> dict[int, Scores]:
    """Combines several rankings by their log ranks, seed by seed.

    If a ranking lacks a seed, its first one is taken instead. Seeds are left out if the rankings
    have not scored the same architectures.

    Raises:
        UserError: a name is unknown, or no seed is left.
    """
    for name in names:
        if name not in found:
            raise UserError(f"--combine: no scores of {name!r}; there are {', '.join(found)}")
    seeds = max((found[name] for name in names), key=len)
    result: dict[int, Scores] = {}
    for seed in seeds:
        parts = [found[n].get(seed, next(iter(found[n].values()))) for n in names]
        common = sorted(set.intersection(*map(set, parts)))
        if len(common) < min(map(len, parts)):
            continue
        numbers = [dict(zip(names, (p[a] for p in parts), strict=True)) for a in common]
        result[seed] = dict(zip(common, proxies.scores(numbers).tolist(), strict=True))
    if not result:
        raise UserError(f"--combine: {', '.join(names)} have not scored the same architectures")
    return result


def row(name: str, by_seed: Mapping[int, Scores], table: tabular.Table) -> results.Row:
    """Builds one row: means over seeds, and the interval of tau.

    Args:
        name: name of the ranking.
        by_seed: scores of the ranking, by seed.
        table: true accuracies of the whole space.

    Raises:
        UserError: an architecture is not in the table.
    """
    truth = dict(zip(table.names, table.accuracy, strict=True))
    strangers = [a for scores in by_seed.values() for a in scores if a not in truth]
    if strangers:
        raise UserError(f"{name}: the table has no architecture {strangers[0]!r}")
    pairs = [
        (np.array([*scores.values()]), np.array([truth[a] for a in scores]))
        for scores in by_seed.values()
    ]
    measured = [rank_statistics.measure(*pair, table.accuracy) for pair in pairs]
    means = {key: float(np.mean([m[key] for m in measured])) for key in measured[0]}
    taus = [m["tau"] for m in measured]
    low, high = rank_statistics.tau_interval(*pairs[0])
    if len(taus) > 1:
        error = stats.t.ppf(0.975, len(taus) - 1) * stats.sem(taus)
        low, high = means["tau"] - error, means["tau"] + error
    counts = {"seeds": len(taus), "of": len(pairs[0][0])}
    return {"name": name, **counts, **means, "tau_low": low, "tau_high": high}


def plot_tau(rows: list[results.Row], path: Path) -> None:
    """Plots Kendall's tau of every row, with its interval."""
    figure, axes = pyplot.subplots(figsize=(6, 0.4 * len(rows) + 1), layout="constrained")
    for place, each in enumerate(reversed(rows)):
        axes.plot([each["tau_low"], each["tau_high"]], [place] * 2, color="gray")
        axes.plot(each["tau"], place, "o", color="black")
    axes.set_yticks(range(len(rows)), [each["name"] for each in reversed(rows)])
    axes.set_xlabel("Kendall's tau with the true accuracy")
    axes.axvline(0, color="lightgray", zorder=0)
    figure.savefig(path)
    pyplot.close(figure)


def plot_accuracy(
    found: Mapping[str, Mapping[int, Scores]], table: tabular.Table, path: Path
) -> None:
    """Plots the true accuracy over the rank given, for the first seed of each ranking."""
    truth = dict(zip(table.names, table.accuracy, strict=True))
    columns = min(3, len(found))
    lines = -(-len(found) // columns)
    figure, grid = pyplot.subplots(
        lines, columns, figsize=(3 * columns, 2.4 * lines), squeeze=False, layout="constrained"
    )
    low = np.quantile(table.accuracy, 0.02)
    for axes, (name, by_seed) in zip(grid.flat, found.items(), strict=False):
        scores = next(iter(by_seed.values()))
        rank = stats.rankdata([-s for s in scores.values()])
        axes.scatter(rank, [truth[a] for a in scores], s=2, color="black", alpha=0.4)
        axes.set(title=name, ylim=(low, table.accuracy.max() + 0.5), xlabel="rank given")
    for axes in grid[:, 0]:
        axes.set_ylabel("true accuracy, %")
    for axes in grid.flat[len(found) :]:
        axes.remove()
    figure.savefig(path)
    pyplot.close(figure)


def _run() -> None:
    table = tabular.load(_SPACE.value, Path(_TABLE.value))
    out = make_directory(Path(_OUT.value)) if _OUT.value else None
    found = read(Path(_SCORES.value), _SPACE.value)
    found |= {name: combined(found, name.split("+")) for name in _COMBINE.value}
    rows = [row(name, by_seed, table) for name, by_seed in found.items()]
    rows.sort(key=lambda each: -each["tau"])
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    path = out / "ranking.json" if out else None
    results.report(rows, {"space": _SPACE.value}, path, console)
    if out:
        matplotlib.use("svg")
        plot_tau(rows, out / "tau.svg")
        plot_accuracy(found, table, out / "accuracy.svg")


def main(_argv: list[str]) -> None:
    """Prints and plots what the flags name."""
    exit_cleanly(_run)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
