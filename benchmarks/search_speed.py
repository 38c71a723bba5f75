"""Compares the speed of search steps with the same steps in PyTorch, on one machine.

    python -m benchmarks.search_speed --json=FILE

The spaces, recipes and strategies are those of experiments on NAS-Bench-201's cells, on random
images with stored labels, so that neither side runs a teacher: SPOS, one uniformly random path a
step, and DARTS of first order, a step of the alphas and one of the weights. PyTorch's side
(torch_supernet.py) is eager and runs only the ops of a path. Both sides draw batches from memory,
augment them, and take the same paths. The weights are random.

The sides take turns; `ours` and `other` are medians over the turns, in steps per second, without
compilation. `ours_first_seconds` and `other_first_seconds` are the times from the beginning to the
end of the first step, with compilation, if there is any, and without a cache of compiled programs.
`ours_scored_per_second` is the number of random architectures that our supernet scores in a second;
`held_out` and `calibration_batches` are the images and the batches of calibration that it uses for
each.

All sides compute in float32. On a GPU that is done twice: with full products on both sides
("float32"), and with TensorFloat-32 products on both sides ("tf32").

Run it on a quiet machine: PyTorch's threads wait for one another after every operation, and lose
far more than ours when another program uses a core. On a busy machine pin it to a single core,
where both sides lose the same share: `taskset -c 1 python -m benchmarks.search_speed`.
"""

from datafree_nas.runtime import terminal

if __name__ == "__main__":
    terminal.prepare()  # before the imports, which take seconds

import itertools
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
from absl import app, flags
from ml_collections import ConfigDict

from benchmarks import results, search_step, with_torch
from benchmarks.json_flag import JSON
from benchmarks.search_step import CALIBRATION, EXPERIMENTS, Search, experiment
from benchmarks.turns import take_turns
from datafree_nas import plan
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.errors import UserError, did_you_mean, exit_cleanly
from datafree_nas.runtime.flags import parse
from datafree_nas.runtime.memory import keep_memory
from datafree_nas.search import scoring
from datafree_nas.spaces.space import Space

_EXPERIMENTS = flags.DEFINE_list("experiments", ",".join(EXPERIMENTS), "which of them")
_CELLS = flags.DEFINE_integer("cells", 1, "of a stage", lower_bound=1)
_BATCH = flags.DEFINE_integer("batch", 64, "images", lower_bound=1)
_ITERATIONS = flags.DEFINE_integer("iterations", 20, "of a side's turn", lower_bound=1)
_REPEATS = flags.DEFINE_integer("repeats", 5, "turns of each side", lower_bound=1)


def scored_per_second(search: Search, config: Config, space: Space, repeats: int) -> float:
    """Measures how many random architectures a search scores in a second, one after another.

    Args:
        search: search whose supernet scores them.
        config: block `config.search` of an experiment.
        space: space of the search.
        repeats: number of architectures to score.
    """
    score = scoring.make_scorer(space.supernet(), search_step.preprocessing(space), config)
    numbers = itertools.count()

    def advance(n: int) -> None:
        drawn = [space.gates(space.sample(jax.random.key(next(numbers)))) for _ in range(n)]
        scoring.score_all(score, search.state.train, search.data, drawn)

    _, seconds = take_turns({"ours": advance}, 1, repeats)
    return 1 / seconds["ours"]


def compare(config: ConfigDict, iterations: int, repeats: int, kind: str) -> results.Row:
    """Compares both sides on one experiment; rates are in steps per second.

    Args:
        config: config of an experiment, see `search_step.experiment`.
        iterations: number of iterations of a turn.
        repeats: number of turns of each side.
        kind: kind of products, as `with_torch.products` takes it.
    """
    from benchmarks import torch_supernet

    space: Any = plan.experiment_of(config).space
    inputs = config.search, space, search_step.random_images(space)
    jax.clear_caches()  # those of the experiment before
    with with_torch.products(kind):
        ours, ours_first = _begun(lambda: Search(*inputs))
        more = ours.paths(1 + iterations * (1 + repeats)), with_torch.device()
        other, other_first = _begun(lambda: torch_supernet.Search(*inputs, *more))
        sides = {"ours": ours.advance, "other": other.advance}
        _, seconds = take_turns(sides, iterations, repeats)
        scored = scored_per_second(ours, config.search, space, repeats)
    rate = {name: iterations / s for name, s in seconds.items()}
    return {
        "name": config.name + (f", {kind}" if kind != "float32" else ""),
        **rate,
        "ratio": rate["ours"] / rate["other"],
        "ours_first_seconds": ours_first,
        "other_first_seconds": other_first,
        "ours_scored_per_second": scored,
        "products": kind,
    }


def _begun(build: Callable[[], Any]) -> tuple[Any, float]:
    """Builds a search and does its first step; returns it and the seconds that both took."""
    began = time.perf_counter()
    search = build()
    search.advance(1)
    return search, time.perf_counter() - began


def _settings() -> results.Row:
    import torch

    return {
        "cells": _CELLS.value,
        "batch": _BATCH.value,
        "dtype": "float32",
        "iterations": _ITERATIONS.value,
        "repeats": _REPEATS.value,
        "held_out": search_step.IMAGES // 2,
        "calibration_batches": CALIBRATION,
        "jax": jax.__version__,
        "torch": torch.__version__,
        "load": round(os.getloadavg()[0], 2),  # of other programs, as nothing has run here yet
    }


def _run() -> None:
    keep_memory()
    path = results.destination(JSON.value)
    for name in _EXPERIMENTS.value:
        if name not in EXPERIMENTS:
            raise UserError(f"--experiments: no {name!r}{did_you_mean(name, EXPERIMENTS)}")
    if not _EXPERIMENTS.value:
        raise UserError("--experiments names none" + did_you_mean("", EXPERIMENTS))
    with_torch.check()
    jax.config.update("jax_enable_compilation_cache", False)
    settings, rows = _settings(), []
    for kind in with_torch.kinds():
        for name in _EXPERIMENTS.value:
            print(f"timing {name}, {kind}", file=sys.stderr, flush=True)
            config = experiment(name, _CELLS.value, _BATCH.value)
            rows.append(compare(config, _ITERATIONS.value, _REPEATS.value, kind))
    results.report(rows, settings, path)


def main(_argv: list[str]) -> None:
    """Times what the flags name."""
    exit_cleanly(_run)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
