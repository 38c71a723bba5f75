"""The train stage: a student on each kind of images, and what it is compared with."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from datafree_nas.data.images import Images, ImageSet
from datafree_nas.runtime import checkpoint, processes, records, seeds
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.files import make_directory, write_json
from datafree_nas.spaces.space import Architecture, Space
from datafree_nas.students import export
from datafree_nas.students.student import Student
from datafree_nas.training import fit
from datafree_nas.training.trainer import LogitsFn, Preprocessing

ROWS = ("synthetic", "real", "noise", "random")
RESULT = "result.json"
_SIMILAR = 0.1  # a rival's MACs may differ by a tenth
_CANDIDATES = 2000


class Inputs(NamedTuple):
    """What the rows have in common.

    Attributes:
        space: of the architecture.
        architecture: that was found.
        teacher: labelling function and its variables.
        preprocess: of bytes.
        synthetic: images.
        real: loads the natural training images; called by the row that needs them.
        test: natural test images, None if there are none.
    """

    space: Space
    architecture: Architecture
    teacher: tuple[LogitsFn, Any]
    preprocess: Preprocessing
    synthetic: Images
    real: Callable[[], Images]
    test: Images | None


class _Row(NamedTuple):
    title: str
    data: str
    images: Callable[[], Images]
    architecture: Architecture


def run(
    directory: Path, inputs: Inputs, teacher_row: dict[str, Any], config: Config, seed: int
) -> None:
    """Trains and evaluates every row of `config.rows` that has no result yet.

    Args:
        directory: of the stage; each row gets a folder with `result.json`, written last.
        inputs: see there.
        teacher_row: `macs` and `params` of the teacher, which is evaluated as well.
        config: `config.student`.
        seed: the run's.

    Raises:
        Interrupted: a signal came; finished rows and the state of the current one are saved.
    """
    if not _has_result(directory / "teacher"):
        accuracy = _accuracy(*inputs.teacher, inputs)
        result = {"name": "teacher", "data": "real", **accuracy, **teacher_row, "seed": seed}
        file = make_directory(directory / "teacher") / RESULT
        processes.once(lambda: write_json(file, {**result, "order": 0}))
    for order, (name, row) in enumerate(_rows(inputs, config, seed).items(), start=1):
        if name in config.rows:
            folder = directory / name
            if not _has_result(folder):
                _train(folder, row, inputs, config, seed, order)
            processes.once(partial(checkpoint.discard, folder / "working"))
        processes.check_stop()


def _has_result(directory: Path) -> bool:
    return processes.as_first((directory / RESULT).exists())


def _rows(inputs: Inputs, config: Config, seed: int) -> dict[str, _Row]:
    found = inputs.architecture
    shape = (inputs.synthetic.size, *inputs.synthetic.image_size)
    rival = random_rival(inputs.space, found, seed) if "random" in config.rows else found
    return {
        "synthetic": _Row("student", "synthetic", lambda: inputs.synthetic, found),
        "real": _Row("student", "real", inputs.real, found),
        "noise": _Row(
            "student", "noise", lambda: noise(shape, inputs.teacher, inputs.preprocess, seed), found
        ),
        "random": _Row("random architecture", "synthetic", lambda: inputs.synthetic, rival),
    }


def _train(
    directory: Path, row: _Row, inputs: Inputs, config: Config, seed: int, order: int
) -> None:
    recipe = config.train
    space = inputs.space.regularized(recipe)
    model = space.network(row.architecture)
    variables = fit.fit(
        model,
        row.images(),
        inputs.preprocess,
        recipe,
        seeds.key_for(seed, "student"),
        label=f"train {row.title}, {row.data} images",
        directory=directory,
        teacher=inputs.teacher if recipe.labels == "teacher" else None,
        rule=space.initial,
    )

    def logits_fn(variables: Any, x: jax.Array) -> Any:
        return model.apply(variables, x, train=False)

    result = {
        "name": row.title,
        "data": row.data,
        **_accuracy(logits_fn, variables, inputs),
        "macs": space.macs(row.architecture),
        "params": space.params(row.architecture),
        "seed": seed,
        "order": order,
        "architecture": space.encode(row.architecture),
    }
    student = Student(space, row.architecture, inputs.preprocess, variables)
    processes.once(lambda: _write(directory, student, result))


def _write(directory: Path, student: Student, result: dict[str, Any]) -> None:
    """The result last: it says that the row is done."""
    checkpoint.save_variables(directory / "variables", student.variables)
    with processes.alone():
        export.write(directory, student)
    write_json(directory / RESULT, result)


def _accuracy(logits_fn: LogitsFn, variables: Any, inputs: Inputs) -> dict[str, float | None]:
    if inputs.test is None:
        return {"test_accuracy": None}
    return {"test_accuracy": fit.accuracy(logits_fn, variables, inputs.test, inputs.preprocess)}


def noise(
    shape: tuple[int, ...],
    teacher: tuple[LogitsFn, Any],
    preprocess: Preprocessing,
    seed: int,
) -> ImageSet:
    """Images of Gaussian pixels, with the mean and std that the teacher takes, and its labels.

    Args:
        shape: `(n, h, w, c)`.
        teacher: labelling function and its variables.
        preprocess: of bytes.
        seed: the run's.
    """
    generator = seeds.numpy_generator(seeds.key_for(seed, "noise"))
    mean, std = (np.array(v) for v in preprocess)
    pixels = generator.normal(mean, std, shape)
    images = np.clip(np.round(pixels * 255), 0, 255).astype(np.uint8)
    labels = fit.logits_of(*teacher, images, preprocess).argmax(-1)
    return ImageSet(images, labels.astype(np.int32))


def random_rival(space: Space, found: Architecture, seed: int) -> Architecture:
    """A connected architecture, other than the one found, whose MACs differ by a tenth at most.

    The first one of 2000 random ones, or the one of nearest MACs if there is none such.
    """
    keys = jax.random.split(seeds.key_for(seed, "rival"), _CANDIDATES)
    others = [
        a
        for a in np.asarray(jax.vmap(space.sample)(keys))
        if space.connected(a) and not np.array_equal(a, found)
    ]
    target = space.macs(found)
    gaps = np.array([abs(space.macs(a) - target) for a in others])
    similar = np.flatnonzero(gaps <= _SIMILAR * target)
    return others[similar[0] if len(similar) else int(np.argmin(gaps))]


def results(directory: Path) -> list[dict[str, Any]]:
    """The results of all finished rows, in the table's order."""
    found = [records.read(file, records.RESULT) for file in directory.glob(f"*/{RESULT}")]
    return sorted(found, key=lambda row: row["order"])
