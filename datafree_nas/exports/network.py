"""A trained network of a run, ready to be exported: a student, or the teacher."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from datafree_nas import teachers
from datafree_nas.data.labeller import Labeller
from datafree_nas.runtime.errors import UserError, did_you_mean
from datafree_nas.runtime.workdir import Workdir
from datafree_nas.students import student as students
from datafree_nas.teachers import Teacher
from datafree_nas.teachers import store as teacher_store

_BATCH = 64  # images that are computed at once


class Network(NamedTuple):
    """A classifier with its weights.

    Attributes:
        name: `teacher`, or the folder of a student.
        title: description of the network, for people.
        logits: jittable function of a batch of bytes `[b h w c]`, with the weights inside.
        image_size: `(h, w, c)` of the images.
        num_classes: number of classes.
        class_names: names of the classes; empty if nobody has named them.
    """

    name: str
    title: str
    logits: Callable[[UInt8[Array, "b h w c"]], Float[Array, "b k"]]
    image_size: tuple[int, int, int]
    num_classes: int
    class_names: list[str]

    def batch(self, images: int | None = None) -> jax.ShapeDtypeStruct:
        """Returns shape and type of a batch.

        Args:
            images: number of images; None for any number.
        """
        count = images or jax.export.symbolic_shape("b")[0]
        return jax.ShapeDtypeStruct((count, *self.image_size), jnp.uint8)

    def compute(self, images: UInt8[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n k"]:
        """Computes the logits of images with JAX."""
        return in_batches(jax.jit(self.logits), images)


def in_batches(
    function: Callable[[Any], Any], images: UInt8[np.ndarray, "n h w c"], batch: int = _BATCH
) -> Float[np.ndarray, "n k"]:
    """Computes the logits of many images a batch at a time; the last batch is filled up.

    Args:
        function: function of a batch of bytes.
        images: one image or more.
        batch: images in a batch.
    """
    found = []
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        filled = np.concatenate([part, np.repeat(part[-1:], batch - len(part), axis=0)])
        found.append(np.asarray(function(filled))[: len(part)])
    return np.concatenate(found)


def of_student(workdir: Workdir, row: str, space: str = "") -> Network:
    """Reads a student of a run.

    Args:
        workdir: folder of the run.
        row: folder of the student.
        space: `package.module:Class` of the search space, if it is not one of this package.

    Raises:
        UserError: the run has no students, or none of that name, or the files are damaged.
    """
    rows = sorted(card.parent.name for card in workdir.students.glob(f"*/{students.CARD}"))
    if not rows:
        raise UserError(
            f"{workdir.root} has no students yet; run its train stage, or export the teacher "
            "with --teacher"
        )
    if row not in rows:
        raise UserError(f"--row={row} is no student of {workdir.root}{did_you_mean(row, rows)}")
    found = students.load(workdir.students / row, space)
    names = _class_names(workdir)
    title = f"student {row!r}: {found.space.name}, {found.space.encode(found.architecture)}"
    size, count = found.space.image_size, found.space.num_classes
    return Network(row, title, found.logits, size, count, names)


def of_teacher(workdir: Workdir, factory: str = "") -> Network:
    """Reads the teacher of a run.

    Args:
        workdir: folder of the run.
        factory: `package.module:function` that makes the model, if it is not one of this package.

    Raises:
        UserError: the run has no teacher, or its files are damaged.
    """
    teacher, variables = teachers.load(workdir.teacher, factory)
    found = of_labeller(teacher, teachers.labeller(teacher, variables))
    return found._replace(class_names=_class_names(workdir))


def of_labeller(teacher: Teacher, labeller: Labeller) -> Network:
    """Makes the network of a teacher with its weights.

    Args:
        teacher: classifier of the weights.
        labeller: the same classifier with its weights.
    """

    def logits(images: UInt8[Array, "b h w c"]) -> Float[Array, "b k"]:
        return labeller.logits_fn(labeller.variables, labeller.preprocessing(images))

    title, size, count = f"teacher: {teacher.arch}", teacher.image_size, teacher.num_classes
    return Network("teacher", title, logits, size, count, [])


def _class_names(workdir: Workdir) -> list[str]:
    if not workdir.card.exists():
        return []
    return teacher_store.read_card(workdir.teacher).get("class_names") or []
