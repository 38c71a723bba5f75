r"""Compares estimates of a student's accuracy that need no real image with its true accuracy.

    python -m benchmarks.accuracy_estimates --config=FILE --workdir=DIR --students=30 --out=FILE

DIR is that of a run whose stages teacher and synthesize are done, with held-out images. Students of
different kinds are trained: random architectures, on many or few synthetic images, on noise or on
real images, with the teacher's labels, for few or many steps. Of each, FILE gets a line with the
true accuracy on the test images of `config.data.source`, and, for each of several kinds of probes,
the agreement of its top class with the teacher's, its mean confidence, the share of images on which
it is surer than a threshold, and the KL divergence. The threshold is that of average thresholded
confidence (Garg et al. 2022): on the held-out images the share above it is the agreement. Students
that FILE has already are not trained again. Probes:

- `held_out`: the synthetic images that nothing was trained on
- `train`: synthetic images that some of the students were trained on
- `mixed`: means of two held-out images
- `blurred`, `noisy`: held-out images after a 3x3 mean, and with Gaussian noise
- `moved`: held-out images, shifted at random by an eighth of their side
- `noise`: Gaussian pixels
- `other`: the synthetic images of `--other=WORKDIR`, made with other settings
"""

from datafree_nas.runtime import terminal

if __name__ == "__main__":
    terminal.prepare()  # before the imports, which take seconds

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
import scipy.ndimage
import scipy.special
from absl import app, flags
from ml_collections import config_flags

from datafree_nas.data.images import ImageSet
from datafree_nas.data.labeller import Labeller
from datafree_nas.experiment import Experiment, resolve
from datafree_nas.runtime import compiled, seeds
from datafree_nas.runtime.errors import UserError, exit_cleanly
from datafree_nas.runtime.files import read_jsonl
from datafree_nas.runtime.flags import parse
from datafree_nas.runtime.memory import keep_memory
from datafree_nas.spaces.space import Architecture
from datafree_nas.students.measure import divergence
from datafree_nas.students.train import noise
from datafree_nas.synthesis import store
from datafree_nas.training import fit

_DEFAULT = Path(__file__).parents[1] / "configs" / "digits_spos.py"
_PROBES = 512  # images of a kind
_STEPS = (0.03, 1.0)  # smallest and largest share of the recipe's steps
_SHARES = (0.02, 1.0)  # smallest and largest share of the images
_KINDS = ("synthetic", "synthetic", "synthetic", "real", "noise")

_CONFIG = config_flags.DEFINE_config_file("config", None, "default: configs/digits_spos.py")
_WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run", required=True)
_OTHER = flags.DEFINE_string("other", "", "folder of a run whose images are probes, too")
_STUDENTS = flags.DEFINE_integer("students", 30, "number of students", lower_bound=1)
_OUT = flags.DEFINE_string("out", None, "file of results, a line for each student", required=True)


def _run() -> None:
    keep_memory()
    compiled.keep()
    config, path = _CONFIG.value, Path(_OUT.value)
    if not config.data.source:
        raise UserError("the true accuracy needs real images; set config.data.source")
    experiment = resolve(config, _WORKDIR.value)
    if not experiment.workdir.held_out.exists():
        raise UserError(f"{_WORKDIR.value} has no held-out images; run the stage synthesize")
    labeller, test = experiment.labeller(), experiment.natural("test")
    assert isinstance(test, ImageSet)
    probes = _probes(experiment, labeller)
    answers = {name: fit.logits_of(labeller, images) for name, images in probes.items()}
    real, teacher_accuracy = np.asarray(test.images), fit.accuracy(labeller, test)
    on_real = fit.logits_of(labeller, real)
    known = {row["student"] for row in read_jsonl(path)} if path.exists() else set()
    for number in sorted(set(range(_STUDENTS.value)) - known):
        kind, network = _student(experiment, labeller, number)
        logits = {name: fit.logits_of(network, images) for name, images in probes.items()}
        threshold = _threshold(logits["held_out"], answers["held_out"])
        row = {
            "student": number,
            **kind,
            "accuracy": fit.accuracy(network, test),
            "teacher_accuracy": teacher_accuracy,
            "agreement_on_real": _agreement(fit.logits_of(network, real), on_real),
            "probes": {name: _compared(logits[name], answers[name], threshold) for name in probes},
        }
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(_shown(row), flush=True)


def _shown(row: dict[str, Any]) -> str:
    held_out = row["probes"]["held_out"]["agreement"]
    kind = f"{row['data']} x{row['images']}, {row['steps']} steps"
    return f"{row['student']}: accuracy {row['accuracy']:.3f}, held out {held_out:.3f} ({kind})"


def _probes(experiment: Experiment, labeller: Labeller) -> dict[str, np.ndarray]:
    """Makes the images of each probe, `[n h w c]`, bytes."""
    workdir = experiment.workdir
    generator = np.random.default_rng(experiment.config.seed)
    held_out = np.asarray(store.load(workdir.held_out).images)
    reach = np.array(held_out.shape[1:3]) // 8
    found = {
        "held_out": held_out,
        "train": np.asarray(store.load(workdir.synthetic).images)[:_PROBES],
        "mixed": _bytes((held_out.astype(float) + generator.permutation(held_out)) / 2),
        "blurred": _bytes(scipy.ndimage.uniform_filter(held_out.astype(float), (0, 3, 3, 0))),
        "noisy": _bytes(held_out + generator.normal(0, 25, held_out.shape)),
        "moved": np.stack(
            [np.roll(image, generator.integers(-reach, reach + 1), (0, 1)) for image in held_out]
        ),
        "noise": np.asarray(noise((_PROBES, *held_out.shape[1:]), labeller, 1).images),
    }
    if _OTHER.value:
        other = resolve(experiment.config, _OTHER.value).workdir
        found["other"] = np.asarray(store.load(other.synthetic).images)[:_PROBES]
    return found


def _bytes(images: np.ndarray) -> np.ndarray:
    return np.clip(np.round(images), 0, 255).astype(np.uint8)


def _agreement(logits: np.ndarray, teacher: np.ndarray) -> float:
    return float(np.mean(logits.argmax(-1) == teacher.argmax(-1)))


def _confidence(logits: np.ndarray) -> np.ndarray:
    return scipy.special.softmax(logits, axis=-1).max(-1)


def _threshold(logits: np.ndarray, teacher: np.ndarray) -> float:
    """Finds the confidence that is exceeded on as many images as agree with the teacher."""
    return float(np.quantile(_confidence(logits), 1 - _agreement(logits, teacher)))


def _compared(logits: np.ndarray, teacher: np.ndarray, threshold: float) -> dict[str, float]:
    confidence = _confidence(logits)
    return {
        "agreement": _agreement(logits, teacher),
        "confidence": float(confidence.mean()),
        "above_threshold": float(np.mean(confidence >= threshold)),
        "kl": divergence(teacher, logits),
    }


def _student(
    experiment: Experiment, labeller: Labeller, number: int
) -> tuple[dict[str, Any], Labeller]:
    """Trains a student; returns of what kind it is, and the student."""
    generator = np.random.default_rng((experiment.config.seed, number))
    recipe = experiment.config.student.train.copy_and_resolve_references()
    recipe.steps = max(round(recipe.steps * _log_uniform(generator, *_STEPS)), 10)
    recipe.calibration_batches = 0
    data = str(generator.choice(_KINDS))
    images = _images(experiment, labeller, data)
    count = max(round(images.size * _log_uniform(generator, *_SHARES)), recipe.batch_size)
    images = images.take(np.sort(generator.permutation(images.size)[:count]))
    space, architecture = experiment.space, _architecture(experiment, number)
    model = space.network(architecture)
    with tempfile.TemporaryDirectory() as directory:
        variables = fit.fit(
            model,
            images,
            labeller,
            recipe,
            seeds.key_for(experiment.config.seed, "student", number),
            label=f"student {number}",
            directory=Path(directory),
            rule=space.initial,
        )

    def logits_fn(variables: Any, x: jax.Array) -> Any:
        return model.apply(variables, x, train=False)

    kind = {"architecture": space.encode(architecture), "macs": space.macs(architecture)}
    kind |= {"data": data, "images": images.size, "steps": recipe.steps}
    return kind, Labeller(logits_fn, variables, labeller.preprocessing)


def _log_uniform(generator: np.random.Generator, least: float, most: float) -> float:
    return math.exp(generator.uniform(math.log(least), math.log(most)))


def _architecture(experiment: Experiment, number: int) -> Architecture:
    space = experiment.space
    for attempt in range(1000):
        key = seeds.key_for(experiment.config.seed, "estimate", number, attempt)
        architecture = np.asarray(space.sample(key))
        if space.connected(architecture):
            return architecture
    raise UserError(f"of 1000 random architectures of {space.name} none is connected")


def _images(experiment: Experiment, labeller: Labeller, data: str) -> ImageSet:
    synthetic = store.load(experiment.workdir.synthetic)
    if data == "noise":
        return noise(synthetic.images.shape, labeller, 0)
    if data == "real":
        real = experiment.natural("train")
        assert isinstance(real, ImageSet)
        return real
    return synthetic


def main(_argv: list[str]) -> None:
    """Trains and compares what the flags name."""
    exit_cleanly(_run, resume="Run the same command again to go on.")


def _parse(argv: list[str]) -> list[str]:
    return parse(argv, default_config=str(_DEFAULT))


if __name__ == "__main__":
    app.run(main, flags_parser=_parse)
