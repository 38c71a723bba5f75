r"""Measures time and memory of a search step, for each strategy on one space.

    python -m benchmarks.search --config=configs/nasbench201_darts.py --json=FILE

Steps are those of the search stage on stored labels, so that no teacher is in them; the strategies
take turns. `step_ms` is the median of the turns, `compile_s` the first turn minus that median,
`temporaries_MB` the size that XLA reports. With ProxylessNAS every step of the weights is followed
by one of the alphas.
"""

from datafree_nas.runtime import terminal

if __name__ == "__main__":
    terminal.prepare()  # before the imports, which take seconds

from typing import Any

from absl import app, flags
from ml_collections import ConfigDict, config_flags

from benchmarks import results, search_step
from benchmarks.json_flag import JSON
from benchmarks.turns import take_turns
from datafree_nas import plan
from datafree_nas.runtime.errors import UserError, did_you_mean, exit_cleanly
from datafree_nas.runtime.flags import parse
from datafree_nas.runtime.memory import keep_memory

# changes of each side, a strategy with its settings, to `config.search`
SIDES: dict[str, dict[str, Any]] = {
    "darts_first": {"strategy": "darts", "darts.order": "first"},
    "darts_second": {"strategy": "darts", "darts.order": "second"},
    "darts_second_fd": {"strategy": "darts", "darts.order": "second_fd"},
    "proxyless_two": {"strategy": "proxyless", "proxyless.gradient": "two"},
    "proxyless_full": {"strategy": "proxyless", "proxyless.gradient": "full"},
    "spos": {"strategy": "spos"},
}

_CONFIG = config_flags.DEFINE_config_file("config", None, "an experiment, FILE.py[:arg]")
_SIDES = flags.DEFINE_list("sides", ",".join(SIDES), "which of them")
_ITERATIONS = flags.DEFINE_integer("iterations", 5, "of a side's turn", lower_bound=1)
_REPEATS = flags.DEFINE_integer("repeats", 5, "turns of each side", lower_bound=1)


def rows(config: ConfigDict, names: list[str], iterations: int, repeats: int) -> list[results.Row]:
    """Returns one row for each side, a strategy with its settings.

    Args:
        config: config of an experiment; its teacher gives image size and classes only.
        names: names of the sides.
        iterations: number of iterations of a turn.
        repeats: number of turns of each side.
    """
    space, searches = plan.experiment_of(config).space, {}
    images = search_step.random_images(space)
    for name in names:
        side = config.search.copy_and_resolve_references()
        side.update_from_flattened_dict(SIDES[name])
        side.train.labels, side.proxyless.warmup, side.proxyless.every = "stored", 0, 1
        searches[name] = search_step.Search(side, space, images)
    sides = {name: search.advance for name, search in searches.items()}
    first, seconds = take_turns(sides, iterations, repeats)
    memory = {name: search.temporaries() for name, search in searches.items()}
    return [
        {
            "name": name,
            "step_ms": 1e3 * seconds[name] / iterations,
            "compile_s": first[name] - seconds[name],
            "temporaries_MB": memory[name] / 1e6,
        }
        for name in names
    ]


def _run() -> None:
    keep_memory()
    path = results.destination(JSON.value)
    if _CONFIG.value is None:
        raise UserError("give --config=FILE.py, whose space and recipe are timed")
    for name in _SIDES.value:
        if name not in SIDES:
            raise UserError(f"--sides: no {name!r}{did_you_mean(name, SIDES)}")
    settings = {
        "config": _CONFIG.value.name,
        "batch": _CONFIG.value.search.train.batch_size,
        "dtype": "float32",
        "iterations": _ITERATIONS.value,
        "repeats": _REPEATS.value,
    }
    found = rows(_CONFIG.value, _SIDES.value, _ITERATIONS.value, _REPEATS.value)
    results.report(found, settings, path)


def main(_argv: list[str]) -> None:
    """Times what the flags name."""
    exit_cleanly(_run)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
