r"""Compares synthesis and int8 with Sony's model-compression-toolkit (MCT), on one machine.

    python -m benchmarks.mct --mct_python=DIR/bin/python \
        --teachers=RESNET20.th,RESNET56.th --verifiers=RESNET56.th,RESNET20.th \
        --real=tfds:cifar10 --out=OUT

MCT has an environment of its own, as it wants other versions of some packages; PyTorch is the same:

    python3 -m venv DIR
    DIR/bin/pip install torch==2.13.0 torchvision==0.28.0
    DIR/bin/pip install model-compression-toolkit==2.6.1

Checkpoints are akamaster/pytorch_resnet_cifar10's, or of other networks in torch_models.py that
take CIFAR-10's images. The verifier of a teacher is a network that takes no part in its synthesis.

**Images** (OUT/images.json). Both sides make `--images` images of each teacher, in turns: MCT by
its data generation with 4 extra pixels and otherwise its defaults; ours by the recipe of
configs/cifar10_spos.py in one round, and with the `--shares` of its iterations. Figures
are medians over `--turns` turns, each with its own seed. `per_minute` is without start: for MCT,
the time of its call; for ours, the time from the end of the first batch to the end of the last, as
the first one waits for compilation. `per_minute_with_start` is of the whole process; nothing has
been compiled before. `agreement` is the share of images to which the verifier gives the class that
the teacher gives, after pixels are rounded to bytes. `speedup` is `per_minute` divided by MCT's.
For speed at equal agreement, take our fastest row that agrees at least as often as MCT's.

**int8** (OUT/int8.json). MCT quantizes each teacher, weights and activations, by its post-training
quantization as it comes, and so do we, to ONNX as `python -m datafree_nas.export --int8` does. Both
are calibrated on MCT's images of the first turn, on ours with the first of `--shares`, on as many
real ones, and on Gaussian noise; all are rounded to bytes. The fields are those of
benchmarks.int8, on the test images of `--real`.

PyTorch takes as many threads as OMP_NUM_THREADS says, so leave it unset. OUT keeps all images and
the output of every step.
"""

from datafree_nas.runtime import terminal

if __name__ == "__main__":
    terminal.prepare()  # before the imports, which take seconds

import os
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from absl import app, flags

from benchmarks import mct_side, quantized, results, timed_synthesis, with_torch
from benchmarks.mct_side import Worker
from benchmarks.quantized import Compared
from benchmarks.timed_synthesis import Made
from datafree_nas import teachers
from datafree_nas.data import sources
from datafree_nas.data.images import ImageSet
from datafree_nas.data.labeller import Labeller
from datafree_nas.exports import formats
from datafree_nas.exports.network import of_labeller
from datafree_nas.runtime.errors import UserError, exit_cleanly
from datafree_nas.runtime.files import make_directory
from datafree_nas.runtime.flags import parse
from datafree_nas.runtime.memory import keep_memory
from datafree_nas.students import train
from datafree_nas.teachers import Teacher, port
from datafree_nas.teachers.graph import sources as weights
from datafree_nas.training import fit

_MCT_PYTHON = flags.DEFINE_string("mct_python", None, "of MCT's environment", required=True)
_TEACHERS = flags.DEFINE_list("teachers", None, "checkpoints", required=True)
_VERIFIERS = flags.DEFINE_list("verifiers", None, "checkpoints, in the same order", required=True)
_REAL = flags.DEFINE_string("real", None, "as config.data.source names images", required=True)
_DATA_DIR = flags.DEFINE_string("data_dir", "", "where TFDS finds its data sets")
_IMAGES = flags.DEFINE_integer("images", 200, "two batches or more", lower_bound=2)
_BATCH = flags.DEFINE_integer("batch", 100, "images that are optimized together", lower_bound=1)
_TURNS = flags.DEFINE_integer("turns", 3, "of each side", lower_bound=1)
_SHARES = flags.DEFINE_list(
    "shares", "1,0.5,0.25,0.1", "of our recipe's iterations; int8 takes the first"
)
_MCT_ITERATIONS = flags.DEFINE_integer("mct_iterations", 500, "MCT's default", lower_bound=1)
_OUT = flags.DEFINE_string("out", None, "directory that does not exist yet", required=True)


class Network(NamedTuple):
    """A checkpoint, and its network in JAX."""

    file: str
    teacher: Teacher
    labeller: Labeller

    def classes(self, images: np.ndarray) -> np.ndarray:
        """Returns the top class of each image; images are bytes `[n h w c]`."""
        return fit.logits_of(self.labeller, images).argmax(-1)


def _network(file: str) -> Network:
    teacher, variables, _ = port.port("auto", file)
    return Network(file, teacher, teachers.labeller(teacher, variables))


def _theirs(worker: Worker, name: str, teacher: Teacher, seed: int) -> Made:
    found = worker.generate(
        name,
        images=_IMAGES.value,
        batch=_BATCH.value,
        side=teacher.image_size[0],
        extra_pixels=timed_synthesis.recipe().margin,
        iterations=_MCT_ITERATIONS.value,
        seed=seed,
    )
    rates = (60 * len(found.array) / s for s in (found.seconds, found.seconds_with_start))
    return Made(mct_side.as_bytes(found.array, teacher), *rates)


def _turn(worker: Worker, network: Network, seed: int) -> dict[str, Made]:
    """Lets every side make its images once; the first is MCT's, the next ours."""
    sides = {"MCT": _theirs(worker, f"mct_seed{seed}", network.teacher, seed)}
    for share in _SHARES.value:
        place = worker.directory / f"ours_{share}_seed{seed}"
        name = f"ours, {share} of the iterations"
        sides[name] = timed_synthesis.synthesize(
            place, network.file, _IMAGES.value, _BATCH.value, float(share), seed
        )
    return sides


def _image_rows(
    network: Network, verifier: Network, turns: list[dict[str, Made]]
) -> list[results.Row]:
    """Returns a row for each side, with medians over the turns."""
    found: list[results.Row] = []
    for name in turns[0]:
        made = [turn[name] for turn in turns]
        same = [np.mean(network.classes(m.images) == verifier.classes(m.images)) for m in made]
        figures = {
            "per_minute": [m.per_minute for m in made],
            "per_minute_with_start": [m.per_minute_with_start for m in made],
            "agreement": same,
        }
        medians = {column: float(np.median(values)) for column, values in figures.items()}
        found.append({"name": f"{network.teacher.arch}, {name}", **medians})
    return [{**row, "speedup": row["per_minute"] / found[0]["per_minute"]} for row in found]


def _calibration(network: Network, turn: dict[str, Made]) -> dict[str, np.ndarray]:
    """Returns the images that int8 is calibrated on, as bytes `[n h w c]`, by name."""
    mct, ours, *_ = turn.values()
    real = _real(network.teacher, "train").images
    noise = train.noise((_IMAGES.value, *network.teacher.image_size), network.labeller, 0).images
    return {
        "MCT's images": mct.images,
        "our images": ours.images,
        "real": np.asarray(real[: _IMAGES.value]),
        "noise": np.asarray(noise),
    }


def _int8_rows(worker: Worker, network: Network, turn: dict[str, Made]) -> list[results.Row]:
    """Returns a row for float32, and one for each way to quantize the network."""
    test = _real(network.teacher, "test")
    images = np.asarray(test.images)
    tested = {"test": Compared(images, np.asarray(test.labels))}
    calibrations = _calibration(network, turn)
    exported = of_labeller(network.teacher, network.labeller)
    rows = quantized.measure(exported, [formats.find("onnx", True)], calibrations, tested)
    float32, x = exported.compute(images), mct_side.normalized(images, network.teacher)
    for number, (kind, each) in enumerate(calibrations.items()):
        calibration = mct_side.normalized(each, network.teacher)
        logits = worker.quantize(f"int8_{number}", calibration, x).array
        name, found = f"MCT int8, calibrated on {kind}", {"test": logits}
        rows.append(quantized.compare(name, found, {"test": float32}, tested))
    return [{**row, "name": f"{network.teacher.arch}, {row['name']}"} for row in rows]


def _real(teacher: Teacher, split: str) -> ImageSet:
    request = sources.Request(_REAL.value, teacher.image_size, data_dir=_DATA_DIR.value)
    return sources.load(request, split)


def _check() -> list[tuple[Network, Network]]:
    """Checks all flags before anything is timed; returns each teacher with its verifier."""
    _check_numbers()
    if len(_VERIFIERS.value) != len(_TEACHERS.value):
        raise UserError(
            f"--verifiers has {len(_VERIFIERS.value)} files and --teachers {len(_TEACHERS.value)}; "
            "name one for each teacher, in the same order"
        )
    formats.find("onnx", True)
    mct_side.check(_MCT_PYTHON.value)
    with_torch.check()
    pairs = [
        (_network(one), _network(other))
        for one, other in zip(_TEACHERS.value, _VERIFIERS.value, strict=True)
    ]
    for split in ("train", "test"):
        _real(pairs[0][0].teacher, split)
    return pairs


def _check_numbers() -> None:
    if Path(_OUT.value).exists():
        raise UserError(f"--out={_OUT.value} is there already; name a new directory")
    if _IMAGES.value % _BATCH.value or _IMAGES.value == _BATCH.value:
        raise UserError(
            f"--images={_IMAGES.value} is not two or more batches of {_BATCH.value} (--batch)"
        )
    for share in _SHARES.value or [""]:
        if not timed_synthesis.is_share(share):
            raise UserError(f"--shares: {share!r} is not a number above 0 and at most 1")


def _worker(network: Network) -> Worker:
    """Prepares the folder of a teacher, with the network that MCT gets."""
    from benchmarks import torch_models

    arch, classes = network.teacher.arch, network.teacher.num_classes
    if arch not in torch_models.ARCHITECTURES:
        known = ", ".join(torch_models.ARCHITECTURES)
        raise UserError(f"--teachers: {arch} has no PyTorch side here; these have: {known}")
    module = torch_models.random(arch, classes)
    weights.load_weights(module, network.file)
    place = make_directory(Path(_OUT.value).absolute() / arch)
    mct_side.save_network(module, place / "network.pt")
    return Worker(_MCT_PYTHON.value, place / "network.pt", place)


def _run() -> None:
    keep_memory()
    pairs = _check()
    workers = [_worker(network) for network, _ in pairs]
    settings = {
        "images": _IMAGES.value,
        "batch": _BATCH.value,
        "turns": _TURNS.value,
        "mct_iterations": _MCT_ITERATIONS.value,
        "jax": jax.__version__,
        **mct_side.check(_MCT_PYTHON.value),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS", "unset"),
        "load": round(os.getloadavg()[0], 2),  # of other programs, as nothing has run here yet
    }
    images: list[results.Row] = []
    int8: list[results.Row] = []
    for worker, (network, verifier) in zip(workers, pairs, strict=True):
        turns = [_turn(worker, network, seed) for seed in range(_TURNS.value)]
        images += _image_rows(network, verifier, turns)
        results.report(images, settings, worker.directory.parent / "images.json")
        int8 += _int8_rows(worker, network, turns[0])
        results.report(int8, settings, worker.directory.parent / "int8.json")


def main(_argv: list[str]) -> None:
    """Compares on the teachers that the flags name."""
    exit_cleanly(_run)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
