r"""Time and memory of a search step, strategy by strategy, on one space.

    python -m benchmarks.search --config=configs/nasbench201_darts.py --json=FILE

Steps are those of the search stage on stored labels, so that no teacher is in them; sides take
turns. `step_ms` is the median of the turns, `compile_s` the first turn, temporaries are XLA's
figure. With ProxylessNAS every step of the weights is followed by one of the alphas.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from ml_collections import ConfigDict, config_flags

from benchmarks import results
from benchmarks.turns import Advance, take_turns
from datafree_nas import pipeline, teachers
from datafree_nas.data.images import ImageSet
from datafree_nas.runtime.errors import UserError, did_you_mean, exit_cleanly
from datafree_nas.runtime.flags import parse
from datafree_nas.search import run as search
from datafree_nas.search.strategy import SearchData
from datafree_nas.spaces.space import Space
from datafree_nas.training import trainer
from datafree_nas.training.trainer import Preprocessing

# what a side changes in `config.search`
SIDES: dict[str, dict[str, Any]] = {
    "darts_first": {"strategy": "darts", "darts.order": "first"},
    "darts_second": {"strategy": "darts", "darts.order": "second"},
    "darts_second_fd": {"strategy": "darts", "darts.order": "second_fd"},
    "proxyless_two": {"strategy": "proxyless", "proxyless.gradient": "two"},
    "proxyless_full": {"strategy": "proxyless", "proxyless.gradient": "full"},
    "spos": {"strategy": "spos"},
}
IMAGES = 1024  # random ones

_CONFIG = config_flags.DEFINE_config_file("config", None, "an experiment, FILE.py[:arg]")
_SIDES = flags.DEFINE_list("sides", ",".join(SIDES), "which of them")
_ITERATIONS = flags.DEFINE_integer("iterations", 5, "of a side's turn", lower_bound=1)
_REPEATS = flags.DEFINE_integer("repeats", 5, "turns of each side", lower_bound=1)
_JSON = flags.DEFINE_string("json", "", "file to write; none: only the table")


def rows(config: ConfigDict, names: list[str], iterations: int, repeats: int) -> list[results.Row]:
    """One row a side.

    Args:
        config: of an experiment; its teacher gives image size and classes only.
        names: of sides.
        iterations: of a turn.
        repeats: turns of each side.
    """
    teacher = teachers.create(config.teacher.arch, config.teacher.num_classes)
    space, sides, memory = pipeline.space_of(config), {}, {}
    images = _random_images(space, teacher.num_classes)
    for name in names:
        side = config.search.copy_and_resolve_references()
        side.update_from_flattened_dict(SIDES[name])
        side.train.labels, side.proxyless.warmup, side.proxyless.every = "stored", 0, 1
        sides[name], memory[name] = _side(side, space, images)
    first, seconds = take_turns(sides, iterations, repeats)
    return [
        {
            "name": name,
            "step_ms": 1e3 * seconds[name] / iterations,
            "compile_s": first[name] - seconds[name],
            "temporaries_MB": memory[name] / 1e6,
        }
        for name in names
    ]


def _random_images(space: Space, num_classes: int) -> ImageSet:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (IMAGES, *space.image_size)).astype(np.uint8)
    logits = generator.normal(size=(IMAGES, num_classes)).astype(np.float32)
    return ImageSet(pixels, logits.argmax(-1).astype(np.int32), logits)


def _side(config: ConfigDict, space: Space, images: ImageSet) -> tuple[Advance, int]:
    """What runs it, and the bytes of its largest program's temporaries."""
    strategy = search.create(space, _no_teacher, Preprocessing((0.5,) * 3, (0.25,) * 3), config)
    half = np.arange(images.size) < images.size // 2
    parts = [trainer.data_of(images.take(part), None, config.train) for part in (half, ~half)]
    data = SearchData(parts[0], parts[1], jnp.asarray(images.logits)[half])
    phase: Any = next(p for p in strategy.phases if p.name == "supernet")
    state = strategy.init(jax.random.key(0))
    memory = [p.compile().memory_analysis() for p in phase.advance.lower(state, data)]

    def advance(n: int) -> None:
        nonlocal state
        state, _ = jax.block_until_ready(phase.advance(state, data, n))

    return advance, max(m.temp_size_in_bytes for m in memory if m)


def _no_teacher(variables: Any, x: jax.Array) -> jax.Array:
    raise AssertionError("labels are stored")


def _run() -> None:
    path = results.destination(_JSON.value)
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
