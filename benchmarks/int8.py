r"""Measures what int8 costs a run's teacher or student, by the images on which it is calibrated.

    python -m benchmarks.int8 --workdir=RUN --formats=onnx,tflite --real=tfds:NAME --data_dir=DIR

Each format is quantized as `python -m datafree_nas.export --int8` does, calibrated on synthetic
images of the run, on as many images of Gaussian noise, and, with `--real`, on as many real
ones. There is a row for each, with the accuracy on real test images, and the share of images to
which int8 gives the class that float32 gives: on these, on the run's held-out synthetic images, and
with `--photographs` on windows of scikit-learn's two photographs. These are then calibrated on as
well, as the best that calibration could do for them.
"""

from datafree_nas.runtime import terminal

if __name__ == "__main__":
    terminal.prepare()  # before the imports, which take seconds

from pathlib import Path

import numpy as np
from absl import app, flags

from benchmarks import quantized, results
from benchmarks.json_flag import JSON
from benchmarks.quantized import Compared
from datafree_nas import teachers
from datafree_nas.data import sources
from datafree_nas.data.classes import Classes
from datafree_nas.data.images import ImageSet
from datafree_nas.exports import formats, network, run
from datafree_nas.exports.format import Format, Images
from datafree_nas.exports.network import Network
from datafree_nas.runtime.errors import UserError, did_you_mean, exit_cleanly
from datafree_nas.runtime.flags import parse
from datafree_nas.runtime.workdir import Workdir
from datafree_nas.students import train

_WORKDIR = flags.DEFINE_string("workdir", None, "run with synthetic images", required=True)
_ROW = flags.DEFINE_string("row", "", "folder of a student; default: the teacher")
_FORMATS = flags.DEFINE_list("formats", "onnx", "formats that have int8: onnx, tflite")
_REAL = flags.DEFINE_string("real", "", "real images, as config.data.source names them")
_DATA_DIR = flags.DEFINE_string("data_dir", "", "where TFDS finds its data sets")
_PHOTOGRAPHS = flags.DEFINE_bool("photographs", False, "compare on scikit-learn's photographs")


def _run() -> None:
    path = results.destination(JSON.value)
    workdir = Workdir(Path(_WORKDIR.value))
    chosen = [_format(name) for name in _FORMATS.value]
    row = _ROW.value
    found = network.of_student(workdir, row) if row else network.of_teacher(workdir)
    images = run.samples(workdir, found)
    if not len(images.calibration):
        raise UserError(f"--workdir={_WORKDIR.value} has no synthetic images")
    tested = {"test": _test(found)} if _REAL.value else {}
    tested["synthetic"] = Compared(images.check)
    if _PHOTOGRAPHS.value:
        tested["photographs"] = Compared(quantized.photographs(found.image_size))
    calibrations = _calibrations(workdir, found, images.calibration)
    if _PHOTOGRAPHS.value:
        calibrations["photographs"] = tested["photographs"].images
    rows = quantized.measure(found, chosen, calibrations, tested)
    counts = {f"images_{kind}": len(each.images) for kind, each in tested.items()}
    said = {"network": found.name, "calibrated_on": len(images.calibration), **counts}
    results.report(rows, said, path)


def _format(name: str) -> Format:
    if name not in formats.FORMATS:
        raise UserError(f"--formats: {name!r} is unknown{did_you_mean(name, formats.FORMATS)}")
    return formats.find(name, True)


def _calibrations(workdir: Workdir, found: Network, synthetic: Images) -> dict[str, Images]:
    labeller = teachers.labeller(*teachers.load(workdir.teacher))
    noise = train.noise(synthetic.shape, labeller, 0).images
    kinds = {"synthetic": synthetic, "noise": np.asarray(noise)}
    if _REAL.value:
        real = np.asarray(_real(found, "train").images)
        order = np.random.default_rng(0).permutation(len(real))
        kinds["real"] = real[order[: len(synthetic)]]
    return kinds


def _test(found: Network) -> Compared:
    test = _real(found, "test")
    return Compared(np.asarray(test.images), np.asarray(test.labels))


def _real(found: Network, split: str) -> ImageSet:
    classes = Classes(found.num_classes, tuple(found.class_names))
    request = sources.Request(_REAL.value, found.image_size, classes, _DATA_DIR.value)
    return sources.load(request, split)


def main(_argv: list[str]) -> None:
    """Measures the network that the flags name."""
    exit_cleanly(_run)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
