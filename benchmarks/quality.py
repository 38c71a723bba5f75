r"""Measures how good a synthetic data set is, for its teacher and for a verifier.

    python -m benchmarks.quality --dataset=WORKDIR/synthetic --teacher=DIR --verifier=DIR \
        --json=FILE

There is a row for each round, and one for all of them. Both directories are as port_torch or the
teacher stage wrote them. The verifier took no part in the synthesis, so that it shows what other
networks see in the images. Columns: see datafree_nas/synthesis/quality.py. `--real=tfds:NAME` adds
density and coverage (Naeem et al. 2020, five neighbours, by their package prdc): how near the
features of synthetic images are to those of the real test images, and how many real images have a
synthetic one nearby.
"""

from datafree_nas.runtime import terminal

if __name__ == "__main__":
    terminal.prepare()  # before the imports, which take seconds

from pathlib import Path

import numpy as np
from absl import app, flags

from benchmarks import gap, results
from benchmarks.json_flag import JSON
from datafree_nas import teachers
from datafree_nas.data import sources
from datafree_nas.data.images import ImageSet
from datafree_nas.runtime.errors import UserError, exit_cleanly
from datafree_nas.runtime.flags import parse
from datafree_nas.runtime.memory import keep_memory
from datafree_nas.synthesis import quality, store

_DATASET = flags.DEFINE_string("dataset", None, "WORKDIR/synthetic", required=True)
_TEACHER = flags.DEFINE_string("teacher", None, "directory of the teacher", required=True)
_VERIFIER = flags.DEFINE_string("verifier", "", "directory of a classifier that took no part")
_REAL = flags.DEFINE_string("real", "", "natural images, as config.data.source names them")
_DATA_DIR = flags.DEFINE_string("data_dir", "", "where TFDS finds its data sets")


def rows(
    images: ImageSet, looker: str, directory: Path, real: ImageSet | None = None
) -> list[results.Row]:
    """Returns one row for each round and, if there are several, one for all images.

    Args:
        images: images with rounds and the synthesis teacher's logits.
        looker: name of the classifier in the table: `teacher` or `verifier`.
        directory: directory of the classifier.
        real: natural images, for density and coverage.

    Raises:
        UserError: there is no classifier, or it has other channels or classes.
    """
    classifier, variables = teachers.load(directory)
    assert images.logits is not None
    assert images.rounds is not None
    made_for = (images.images.shape[-1], images.logits.shape[1])
    if (classifier.image_size[-1], classifier.num_classes) != made_for:
        raise UserError(
            f"--{looker}={directory} takes images {classifier.image_size} of "
            f"{classifier.num_classes} classes; the data set has {made_for[0]} channels and "
            f"{made_for[1]} classes"
        )
    numbers = np.unique(images.rounds)
    parts = {f"round {n}": images.take(np.flatnonzero(images.rounds == n)) for n in numbers}
    if len(parts) > 1:
        parts["all rounds"] = images
    found = []
    for name, part in parts.items():
        seen = quality.measure(part, classifier, variables)
        if real is not None:
            seen |= gap.measure(*(quality.look(i, classifier, variables)[2] for i in (real, part)))
        found.append({"name": f"{name}, {looker}", "arch": classifier.arch, **seen})
    return found


def _natural(like: ImageSet) -> ImageSet:
    request = sources.Request(_REAL.value, like.image_size, data_dir=_DATA_DIR.value)
    return sources.load(request, "test")


def _run() -> None:
    keep_memory()
    path = results.destination(JSON.value)
    images = store.load(Path(_DATASET.value))
    real = _natural(images) if _REAL.value else None
    found = rows(images, "teacher", Path(_TEACHER.value), real)
    if _VERIFIER.value:
        found += rows(images, "verifier", Path(_VERIFIER.value), real)
    results.report(found, {"dataset": _DATASET.value}, path)


def main(_argv: list[str]) -> None:
    """Measures what the flags name."""
    exit_cleanly(_run)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
