"""Trains and measures the networks of the result table."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from datafree_nas.data.images import Images, ImageSet
from datafree_nas.data.labeller import Labeller
from datafree_nas.runtime import checkpoint, processes, seeds
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import make_directory, write_json
from datafree_nas.runtime.workdir import RESULT
from datafree_nas.spaces.space import Architecture, Space
from datafree_nas.students import export, rivals
from datafree_nas.students.measure import measure
from datafree_nas.students.rows import FAMILY, ROWS, folders, place
from datafree_nas.students.student import Student
from datafree_nas.training import fit


@dataclass(frozen=True)
class Inputs:
    """What the networks have in common.

    Attributes:
        space: search space of the architectures.
        found: architecture that the search found.
        family: other architectures of the search's Pareto front that are wanted, by folder.
        found_on_real: function that searches on real images, in a folder; called once it is needed.
        costs: function that computes costs of an architecture for its result, besides MACs and
            weights.
        allowed: test whether an architecture is connected and keeps the limits of the search.
        labeller: teacher of the run.
        synthetic: synthetic images.
        real: function that loads the natural training images; called once they are needed.
        held_out: synthetic images that nothing is trained on; None if there are none.
        test: natural test images; None if there are none.
    """

    space: Space
    found: Architecture
    family: dict[str, Architecture]
    found_on_real: Callable[[Path], Architecture]
    costs: Callable[[Architecture], dict[str, Any]]
    allowed: Callable[[Architecture], bool]
    labeller: Labeller
    synthetic: Images
    real: Callable[[], Images]
    held_out: ImageSet | None
    test: Images | None


def train_all(
    directory: Path, inputs: Inputs, teacher_costs: dict[str, Any], config: ConfigDict
) -> None:
    """Trains and measures every network of the chosen rows that has no result yet.

    Args:
        directory: folder of the stage; each network gets a folder with `result.json`, written last.
        inputs: networks and images.
        teacher_costs: `macs` and `params` of the teacher, which is measured as well.
        config: experiment, whose block `student` and seed are used.

    Raises:
        Interrupted: a signal came; finished networks and the state of the current one are saved.
    """
    if not _has_result(directory / "teacher"):
        measured = measure(inputs.labeller, inputs.held_out, inputs.test)
        result = {"name": "teacher", "row": "teacher", "data": "real", **measured, **teacher_costs}
        file = make_directory(directory / "teacher") / RESULT
        processes.once(lambda: write_json(file, {**result, "seed": config.seed, "order": 0}))
    for folder, row in folders(config, inputs.family).items():
        if not _has_result(directory / folder):
            _train(directory / folder, row, inputs, config)
        processes.once(partial(checkpoint.discard, directory / folder / "working"))
        processes.check_stop()


def _has_result(directory: Path) -> bool:
    return processes.from_first((directory / RESULT).exists())


def _train(directory: Path, name: str, inputs: Inputs, config: ConfigDict) -> None:
    row, seed = ROWS[name], config.seed
    recipe, architecture = (
        config.student[row.recipe],
        _architecture(directory, name, inputs, config),
    )
    space = inputs.space.regularized(recipe)
    model = space.network(architecture)
    variables = fit.fit(
        model,
        _images(row.data, inputs, seed),
        inputs.labeller,
        recipe,
        seeds.key_for(seed, "student"),
        label=f"train {directory.name}",
        directory=directory,
        rule=space.initial,
    )

    def logits_fn(variables: Any, x: jax.Array) -> Any:
        return model.apply(variables, x, train=False)

    preprocessing = inputs.labeller.preprocessing
    result = {
        "name": row.title,
        "row": directory.name if name == FAMILY else name,  # each is a line of its own
        "data": row.data,
        "labels": recipe.labels,
        "recipe": f"student.{row.recipe}",
        **measure(Labeller(logits_fn, variables, preprocessing), inputs.held_out, inputs.test),
        **inputs.costs(architecture),
        "macs": space.macs(architecture),
        "params": space.params(architecture),
        "memory": space.peak_memory(architecture) if space.lists_ops else None,
        "seed": seed,
        "order": place(name),
        "architecture": space.encode(architecture),
    }
    student = Student(space, architecture, preprocessing, variables)
    processes.once(lambda: _write(directory, student, result))


def _architecture(directory: Path, name: str, inputs: Inputs, config: ConfigDict) -> Architecture:
    match ROWS[name].network:
        case "other_size":
            return inputs.family[directory.name]
        case "random":
            number = int(directory.name.rpartition("_")[2])
            drawn = rivals.random_rivals(inputs.space, inputs.found, number, config.seed)
            if len(drawn) < number:
                raise UserError(
                    f"{inputs.space.name} has only {len(drawn)} other architectures; set "
                    f"config.student.random_networks={len(drawn)}, or leave out the row {name!r}"
                )
            return drawn[-1]
        case "largest":
            return rivals.largest(inputs.space, inputs.found, inputs.allowed, config.seed)
        case "found_on_real":
            return inputs.found_on_real(directory / "search")
    return inputs.found


def _images(data: str, inputs: Inputs, seed: int) -> Images:
    match data:
        case "real":
            return inputs.real()
        case "noise":
            shape = (inputs.synthetic.size, *inputs.synthetic.image_size)
            return noise(shape, inputs.labeller, seed)
    return inputs.synthetic


def _write(directory: Path, student: Student, result: dict[str, Any]) -> None:
    """Writes a network; the result last, as it says that the network is done."""
    checkpoint.save_variables(directory / "variables", student.variables)
    with processes.alone():
        export.write(directory, student)
    write_json(directory / RESULT, result)


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
