r"""Measures what each part of synthesis is worth, on images made without it.

    python -m benchmarks.ablation --checkpoint=cifar10_resnet20.th --verifier=cifar10_resnet56.th \
        --table=nas_bench_201_cifar10.json --data=tfds:cifar10 --out=DIR

For every variant and seed, images are synthesized. A supernet trained on them ranks architectures
of NAS-Bench-201 (Kendall's tau), a ResNet-20 is trained on them alone (test accuracy), and the
verifier, a classifier that took no part in the synthesis, looks at them and at real images. The
number of images is the same in all variants but `images_N`.

Every step is a command of its own. It is printed, continues where it was interrupted, and is not
run again once it is done. Arguments after `--` are overrides of the config for all steps, e.g.
`--config.search.train.steps=2000`. `ablation.json` has means over seeds with standard errors,
`ablation.svg` shows them.
"""

from datafree_nas.runtime import terminal

if __name__ == "__main__":
    terminal.prepare()  # before the imports, which take seconds

import math
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from absl import app, flags
from matplotlib import pyplot

from benchmarks import results
from datafree_nas.runtime.errors import UserError, did_you_mean, exit_cleanly
from datafree_nas.runtime.files import make_directory, read_json
from datafree_nas.runtime.flags import parse

CONFIG = "configs/nasbench201_spos.py"
ROOT = Path(__file__).parents[1]


class Variant(NamedTuple):
    """Settings that differ from those of the base.

    Attributes:
        changes: changed fields of the config and their values.
        rounds: number of rounds of recursion, over which the images are spread.
        images: number of all images; 0: as many as in the other variants.
        teacher: network that is inverted, `checkpoint` or `verifier`; the other one looks at the
            images.
    """

    changes: Mapping[str, str] = {}
    rounds: int = 1
    images: int = 0
    teacher: str = "checkpoint"


VARIANTS = {
    "base": Variant(),
    **{f"rounds_{n}": Variant(rounds=n) for n in (2, 4, 10)},
    "white_noise": Variant({"synthesis.noise": "white"}),
    "no_regional_update": Variant({"synthesis.margin": "0"}),
    "rolls": Variant({"synthesis.margin": "0", "synthesis.roll": "2"}),  # DeepInversion's
    "no_batch_norm": Variant({"synthesis.batch_norm": "0"}),
    "no_total_variation": Variant({"synthesis.tv_l2": "0"}),
    "no_ladder": Variant({"synthesis.resolutions": "((1,65),)"}),
    "hard_labels": Variant({"search.train.labels": "'hard'", "student.train.labels": "'hard'"}),
    "other_teacher": Variant(teacher="verifier"),
    **{f"images_{n}": Variant(images=n) for n in (500, 2000, 10_000)},
}

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "of the teacher, a file", required=True)
_VERIFIER = flags.DEFINE_string("verifier", None, "of another classifier", required=True)
_TABLE = flags.DEFINE_string("table", None, "of NAS-Bench-201, JSON", required=True)
_DATA = flags.DEFINE_string("data", None, "natural images, to test on", required=True)
_DATA_DIR = flags.DEFINE_string("data_dir", "", "where TFDS finds its data sets")
_VARIANTS = flags.DEFINE_list("variants", ",".join(VARIANTS), "which of them")
_SEEDS = flags.DEFINE_list("seeds", "0,1,2", "of everything")
_IMAGES = flags.DEFINE_integer("images", 5000, "in all", lower_bound=1)
_COUNT = flags.DEFINE_integer("count", 1000, "architectures that are ranked", lower_bound=2)
_MEASURES = flags.DEFINE_list("measures", "tau,student,quality", "of them; the first takes longest")
_OUT = flags.DEFINE_string("out", None, "directory", required=True)


def _run(overrides: list[str]) -> None:
    for flag, known in ((_VARIANTS, VARIANTS), (_MEASURES, MEASURES)):
        for name in flag.value:
            if name not in known:
                raise UserError(f"--{flag.name}: no {name!r}{did_you_mean(name, known)}")
    out = make_directory(Path(_OUT.value))
    rows = []
    for name in _VARIANTS.value:
        measured = [_measure(out, name, seed, overrides) for seed in _SEEDS.value]
        rows.append({"name": name, **_means(measured)})
        settings = {"seeds": len(_SEEDS.value), "images": _IMAGES.value}
        results.report(rows, settings, out / "ablation.json")
    _plot(rows, out / "ablation.svg")


def _measure(out: Path, name: str, seed: str, overrides: list[str]) -> dict[str, float]:
    """Measures one seed of a variant."""
    variant, place = VARIANTS[name], out / f"{name}_seed{seed}"
    changes = [f"--config.{field}={value}" for field, value in variant.changes.items()]
    config = [f"--config={CONFIG}", f"--config.seed={seed}", *overrides, *changes]
    config += [f"--config.data.source={_DATA.value}", f"--config.data.data_dir={_DATA_DIR.value}"]
    total = variant.images or _IMAGES.value
    files = {"checkpoint": _CHECKPOINT.value, "verifier": _VERIFIER.value}
    checkpoint = files.pop(variant.teacher)
    images = [f"--config.synthesis.rounds={variant.rounds}"]
    images += [f"--config.synthesis.images={total // variant.rounds}"]
    images += [f"--config.teacher.checkpoint={checkpoint}", "--config.teacher.arch=auto"]
    _command(
        "datafree_nas.main", "--stages=teacher,synthesize", f"--workdir={place}", *config, *images
    )
    ((role, file),) = files.items()
    verifier = out / role
    if not verifier.exists():
        _command("datafree_nas.port_torch", f"--checkpoint={file}", f"--out={verifier}")
    found: dict[str, float] = {}
    for measure in _MEASURES.value:
        found |= MEASURES[measure](place, verifier, config)
    return found


def _ranking(place: Path, _verifier: Path, config: list[str]) -> dict[str, float]:
    found = place / "ranking" / "ranking.json"
    if not found.exists():
        flags_ = [f"--data=synthetic:{place}", f"--table={_TABLE.value}", f"--out={found.parent}"]
        _command("benchmarks.ranking", *flags_, f"--count={_COUNT.value}", *config)
    return {"tau": read_json(found)["rows"][0]["tau"]}


def _student(place: Path, _verifier: Path, config: list[str]) -> dict[str, float]:
    found = place / "resnet20" / "result.json"
    if not found.exists():
        flags_ = [f"--dataset={place}/synthetic", f"--teacher={place}/teacher"]
        _command("benchmarks.student", *flags_, f"--out={found.parent}", *config)
    return {"student": read_json(found)["rows"][0]["test_accuracy"]}


def _quality(place: Path, verifier: Path, _config: list[str]) -> dict[str, float]:
    """Measures all the images as the verifier sees them."""
    found = place / "quality.json"
    if not found.exists():
        flags_ = [f"--dataset={place}/synthetic", f"--teacher={place}/teacher"]
        flags_ += [f"--verifier={verifier}", f"--real={_DATA.value}"]
        flags_ += [f"--data_dir={_DATA_DIR.value}", f"--json={found}"]
        _command("benchmarks.quality", *flags_)
    row = read_json(found)["rows"][-1]
    return {name: row[name] for name in ("agreement", "feature_diversity", "density", "coverage")}


MEASURES = {"tau": _ranking, "student": _student, "quality": _quality}


def _command(module: str, *arguments: str) -> None:
    command = [sys.executable, "-m", module, *arguments]
    print(f"+ {shlex.join(['python', *command[1:]])}", flush=True)
    status = subprocess.run(command, cwd=ROOT).returncode
    if status:
        raise SystemExit(status)  # it has printed the reason


def _means(measured: list[dict[str, float]]) -> dict[str, float]:
    """Averages over seeds; with several seeds, adds standard errors."""
    found = {}
    for name in measured[0]:
        values = [each[name] for each in measured]
        found[name] = float(np.mean(values))
        if len(values) > 1:
            found[f"{name}_error"] = float(np.std(values, ddof=1) / math.sqrt(len(values)))
    return found


def _plot(rows: list[results.Row], path: Path) -> None:
    """Plots a panel for every measure, with standard errors if there are several seeds."""
    matplotlib.use("svg")
    names = [key for key in rows[0] if key != "name" and not key.endswith("_error")]
    size = (2.5 * len(names) + 1, 0.4 * len(rows) + 1)
    figure, grid = pyplot.subplots(
        1, len(names), figsize=size, sharey=True, squeeze=False, layout="constrained"
    )
    for axes, name in zip(grid.flat, names, strict=True):
        errors = [row.get(f"{name}_error", 0) for row in rows]
        places = range(len(rows))
        axes.errorbar([row[name] for row in rows], places, xerr=errors, fmt="o", color="black")
        axes.set(xlabel=name.replace("_", " "))
    grid[0, 0].set_yticks(range(len(rows)), [row["name"] for row in rows])
    grid[0, 0].invert_yaxis()
    figure.savefig(path)
    pyplot.close(figure)


def main(argv: list[str]) -> None:
    """Measures the variants that the flags name."""
    exit_cleanly(lambda: _run(argv[1:]), resume="Run the same command again to go on.")


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
