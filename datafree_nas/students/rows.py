"""Trains the rows of the table: a student on each kind of images, and what it is compared with."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from datafree_nas.data.images import Images, ImageSet
from datafree_nas.data.labeller import Labeller
from datafree_nas.runtime import checkpoint, processes, seeds
from datafree_nas.runtime.config import Config
from datafree_nas.runtime.files import make_directory, write_json
from datafree_nas.runtime.values import Values, some_of
from datafree_nas.runtime.workdir import RESULT
from datafree_nas.spaces.space import Architecture, Space
from datafree_nas.students import export
from datafree_nas.students.student import Student
from datafree_nas.training import fit

ROWS = ("synthetic", "real", "noise", "random")
# values of the fields of `config.student`, without its training block
FIELDS: dict[str, Values] = {"rows": some_of(ROWS)}
_SIMILAR = 0.1  # a rival's MACs may differ by a tenth
_CANDIDATES = 2000


class Inputs(NamedTuple):
    """What the rows have in common.

    Attributes:
        space: search space of the architecture.
        architecture: network that was found.
        labeller: teacher of the run.
        synthetic: synthetic images.
        real: function that loads the natural training images; called by the row that needs them.
        test: natural test images, None if there are none.
    """

    space: Space
    architecture: Architecture
    labeller: Labeller
    synthetic: Images
    real: Callable[[], Images]
    test: Images | None


class _StudentRow(NamedTuple):
    title: str
    data: str
    images: Callable[[], Images]
    architecture: Architecture


def train_rows(
    directory: Path, inputs: Inputs, teacher_costs: dict[str, Any], config: Config, seed: int
) -> None:
    """Trains and evaluates every row of `config.rows` that has no result yet.

    Args:
        directory: folder of the stage; each row gets a folder with `result.json`, written last.
        inputs: networks and images that the rows have in common.
        teacher_costs: `macs` and `params` of the teacher, which is evaluated as well.
        config: block `config.student`.
        seed: seed of the run.

    Raises:
        Interrupted: a signal came; finished rows and the state of the current one are saved.
    """
    if not _has_result(directory / "teacher"):
        accuracy = _accuracy(inputs.labeller, inputs)
        result = {"name": "teacher", "data": "real", **accuracy, **teacher_costs, "seed": seed}
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
    return processes.from_first((directory / RESULT).exists())


def _rows(inputs: Inputs, config: Config, seed: int) -> dict[str, _StudentRow]:
    found = inputs.architecture
    shape = (inputs.synthetic.size, *inputs.synthetic.image_size)
    rival = random_rival(inputs.space, found, seed) if "random" in config.rows else found
    return {
        "synthetic": _StudentRow("student", "synthetic", lambda: inputs.synthetic, found),
        "real": _StudentRow("student", "real", inputs.real, found),
        "noise": _StudentRow(
            "student", "noise", lambda: noise(shape, inputs.labeller, seed), found
        ),
        "random": _StudentRow("random architecture", "synthetic", lambda: inputs.synthetic, rival),
    }


def _train(
    directory: Path, row: _StudentRow, inputs: Inputs, config: Config, seed: int, order: int
) -> None:
    recipe = config.train
    space = inputs.space.regularized(recipe)
    model = space.network(row.architecture)
    variables = fit.fit(
        model,
        row.images(),
        inputs.labeller,
        recipe,
        seeds.key_for(seed, "student"),
        label=f"train {row.title}, {row.data} images",
        directory=directory,
        rule=space.initial,
    )

    def logits_fn(variables: Any, x: jax.Array) -> Any:
        return model.apply(variables, x, train=False)

    preprocessing = inputs.labeller.preprocessing
    result = {
        "name": row.title,
        "data": row.data,
        **_accuracy(Labeller(logits_fn, variables, preprocessing), inputs),
        "macs": space.macs(row.architecture),
        "params": space.params(row.architecture),
        "seed": seed,
        "order": order,
        "architecture": space.encode(row.architecture),
    }
    student = Student(space, row.architecture, preprocessing, variables)
    processes.once(lambda: _write(directory, student, result))


def _write(directory: Path, student: Student, result: dict[str, Any]) -> None:
    """Writes a row; the result last, as it says that the row is done."""
    checkpoint.save_variables(directory / "variables", student.variables)
    with processes.alone():
        export.write(directory, student)
    write_json(directory / RESULT, result)


def _accuracy(labeller: Labeller, inputs: Inputs) -> dict[str, float | None]:
    test = inputs.test
    return {"test_accuracy": None if test is None else fit.accuracy(labeller, test)}


def noise(shape: tuple[int, ...], labeller: Labeller, seed: int) -> ImageSet:
    """Draws images of Gaussian pixels, with the teacher's mean and std, and labels them.

    Args:
        shape: `(n, h, w, c)` of the images.
        labeller: teacher of the run.
        seed: seed of the run.
    """
    generator = seeds.numpy_generator(seeds.key_for(seed, "noise"))
    mean, std = (np.array(v) for v in labeller.preprocessing)
    pixels = generator.normal(mean, std, shape)
    images = np.clip(np.round(pixels * 255), 0, 255).astype(np.uint8)
    labels = fit.logits_of(labeller, images).argmax(-1)
    return ImageSet(images, labels.astype(np.int32))


def random_rival(space: Space, found: Architecture, seed: int) -> Architecture:
    """Draws a connected architecture, other than the one found, of similar MACs.

    It is the first of 2000 random ones whose MACs differ by a tenth at most; if there is none, the
    one whose MACs are nearest.
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
