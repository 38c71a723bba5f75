"""The values that every field of a config may have; docs/configs.md shows them beside the fields.

Upper ends are generous: beyond them no run of this program would end, or fit any machine.
"""

from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from datafree_nas import spaces
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.precision import DTYPES
from datafree_nas.runtime.values import (
    Values,
    boolean,
    integer,
    list_of,
    name,
    number,
    one_of,
    some_of,
    text,
    zero_or_integer,
)
from datafree_nas.search import darts, hardware, proxyless, sampling, scoring
from datafree_nas.search import run as search
from datafree_nas.students import rows
from datafree_nas.synthesis.noise import NOISES
from datafree_nas.training.recipe import SCHEDULES

_COUNT = integer(1, 10**7)  # steps, iterations, generations
_COUNT_OR_NONE = integer(0, 10**7)
_BATCH = integer(1, 10**5)
_WEIGHT = number(0, 1e6)  # of a term of a loss
_SHARE = number(0, 1)
_SHARE_BELOW_1 = number(0, 1, below=True)
_RATE = number(0, 1e3, above=True)  # of learning
_TEMPERATURE = number(0, 1e3, above=True)
_LIMIT = integer(0, 10**18)
_PIXELS = integer(0, 4096)
_BETAS = list_of(_SHARE_BELOW_1, (2,), "two numbers")

RECIPE: dict[str, Values] = {
    "steps": _COUNT,
    "batch_size": _BATCH,
    "dtype": one_of(DTYPES),
    "learning_rate": _RATE,
    "schedule": one_of(SCHEDULES),
    "final_learning_rate": number(0, 1e3),
    "warmup": _COUNT_OR_NONE,
    "momentum": _SHARE_BELOW_1,
    "nesterov": boolean(),
    "weight_decay": number(0, 1e3),
    "decay_all": boolean(),
    "clip": _WEIGHT,
    "labels": one_of(("teacher", "stored", "hard")),
    "temperature": _TEMPERATURE,
    "hard_weight": _SHARE,
    "label_smoothing": _SHARE_BELOW_1,
    "dropout": _SHARE_BELOW_1,
    "drop_path": _SHARE_BELOW_1,
    "auxiliary": _WEIGHT,
    "ema": _SHARE_BELOW_1,
    "calibration_batches": integer(0, 10**5),
    "crop_padding": _PIXELS,
    "crop_scale": list_of(
        number(0, 1, above=True), (2,), "(least, greatest) share of the area"
    ).or_empty("no such crop"),
    "flip": boolean(),
    "color_jitter": list_of(_SHARE, (4,), "(brightness, contrast, saturation, hue)").or_empty(
        "none"
    ),
    "lighting": number(0, 10),
    "cutout": _PIXELS,
    "mixup": boolean(),
    "log_every": _COUNT,
}

FIELDS: dict[str, Values] = {
    "name": text(),
    "seed": integer(0, 2**31 - 1),
    "data.source": text(),
    "data.data_dir": text(),
    "data.memory_gb": number(0, 1e6),
    "data.classes": text(),
    "data.train_split": name(),
    "data.test_split": name(),
    "teacher.arch": text(),
    "teacher.factory": text(),
    "teacher.checkpoint": text(),
    "teacher.prefix": text(),
    "teacher.num_classes": zero_or_integer(2, 10**6),
    "teacher.image_size": list_of(integer(1, 4096), (3,), "(height, width, channels)").or_empty(
        "as published"
    ),
    "teacher.mean": list_of(number(-1e3, 1e3), range(1, 65), "one number a channel").or_empty(
        "as published"
    ),
    "teacher.std": list_of(
        number(0, 1e3, above=True), range(1, 65), "one number a channel"
    ).or_empty("as published"),
    "synthesis.images": integer(1, 10**8),
    "synthesis.batch_size": _BATCH,
    "synthesis.rounds": integer(1, 10**4),
    "synthesis.label_temperature": _TEMPERATURE,
    "synthesis.margin": integer(0, 1024),
    "synthesis.resolutions": list_of(
        list_of(_COUNT, (2,), "(pooling, iterations)"), range(1, 17), "one to 16 pairs"
    ),
    "synthesis.noise": one_of(NOISES),
    "synthesis.flip": boolean(),
    "synthesis.dtype": one_of(DTYPES),
    "synthesis.learning_rate": _RATE,
    "synthesis.warmup": _COUNT_OR_NONE,
    "synthesis.betas": _BETAS,
    "synthesis.cross_entropy": _WEIGHT,
    "synthesis.batch_norm": _WEIGHT,
    "synthesis.first_batch_norm": _WEIGHT,
    "synthesis.batch_norm_group": integer(0, 10**5),
    "synthesis.tv_l1": _WEIGHT,
    "synthesis.tv_l2": _WEIGHT,
    "synthesis.l2": _WEIGHT,
    "synthesis.competition": _WEIGHT,
    "synthesis.competition_temperature": _TEMPERATURE,
    "synthesis.competitor": text(),
    "synthesis.log_every": _COUNT,
    "search.strategy": one_of(search.STRATEGIES),
    "search.architecture": text(),
    "search.data": one_of(("synthetic", "real")),
    "search.space.name": one_of(spaces.names()),
    "search.pool": integer(1, 1024),
    "search.held_out": number(0, 1, above=True, below=True),
    "search.spos.sampling": one_of(sampling.SAMPLINGS),
    "search.spos.bins": list_of(
        number(0, 1e18), (3,), "(lowest MACs, highest MACs, number of bins)"
    ).or_empty("none"),
    "search.alphas.learning_rate": _RATE,
    "search.alphas.betas": _BETAS,
    "search.alphas.weight_decay": number(0, 1e3),
    "search.darts.order": one_of(darts.ORDERS),
    "search.darts.beta_darts": _WEIGHT,
    "search.darts.sdarts_rs": _SHARE,
    "search.proxyless.gradient": one_of(proxyless.GRADIENTS),
    "search.proxyless.warmup": _COUNT_OR_NONE,
    "search.proxyless.every": _COUNT,
    "search.proxyless.baseline_decay": _SHARE,
    "search.proxyless.reward_exponent": number(0, 100),
    "search.latency_table": text(),
    "search.hardware.cost": one_of(hardware.COSTS),
    "search.hardware.reference": number(0, 1e18, above=True),
    "search.hardware.form": one_of(hardware.FORMS),
    "search.hardware.alpha": number(0, 1e6, above=True),
    "search.hardware.beta": number(0, 100),
    "search.hardware.penalty": _WEIGHT,
    "search.calibration_batches": integer(1, 10**5),
    "search.score": one_of(scoring.MEASURES),
    "search.evolution.population": integer(1, 10**5),
    "search.evolution.generations": integer(1, 10**5),
    "search.evolution.parents": integer(1, 10**5),
    "search.evolution.mutations": integer(0, 10**5),
    "search.evolution.crossovers": integer(0, 10**5),
    "search.evolution.mutation_probability": _SHARE,
    "search.evolution.max_macs": _LIMIT,
    "search.evolution.max_params": _LIMIT,
    "search.evolution.max_latency": number(0, 1e9),
    "student.rows": some_of(rows.ROWS),
    **{
        f"{block}.train.{field}": values
        for block in ("teacher", "search", "student")
        for field, values in RECIPE.items()
    },
}


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Brings a nested config into one level: `{"a": {"b": 1}}` becomes `{"a.b": 1}`.

    Args:
        tree: config or block of it.
        prefix: path that all names begin with.

    Returns:
        Values by dotted path, with lists for tuples, as JSON gives them back.
    """
    if isinstance(tree, dict | ConfigDict):
        flat: dict[str, Any] = {}
        for key in tree:
            flat.update(flatten(tree[key], f"{prefix}.{key}" if prefix else key))
        return flat
    return {prefix: _as_json(tree)}


def _as_json(value: Any) -> Any:
    return [_as_json(each) for each in value] if isinstance(value, list | tuple) else value


def check(config: ConfigDict) -> None:
    """Checks the value of every field on its own.

    Args:
        config: experiment, see `configs/common.py`.

    Raises:
        UserError: a field is missing, unknown, or has a value that it may not have; names the
            first such field, its value, and what is possible.
    """
    found = flatten(config)
    settings = {key for key in found if key.startswith("search.space.")} - {"search.space.name"}
    for field in sorted(FIELDS.keys() - found.keys()):
        raise UserError(f"the config has no field config.{field}; start from configs/common.py")
    for field in sorted(found.keys() - FIELDS.keys() - settings):
        raise UserError(
            f"the config has a field config.{field}, which nothing reads; remove it, or see docs/"
            "configs.md for its right name"
        )
    for problem in _problems(found):
        raise UserError(problem)
    spaces.check_settings(
        config.search.space.name, {key.rpartition(".")[2]: found[key] for key in settings}
    )


def _problems(found: dict[str, Any]) -> Iterator[str]:
    for field, values in FIELDS.items():
        if not values.holds(found[field]):
            shown = repr(found[field])
            shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
            hint = values.hint(found[field])
            yield f"config.{field}={shown} must be {values.words}{hint}"
