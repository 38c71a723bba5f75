"""A trained student: what it computes, and its card, from which it is built again."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from datafree_nas import spaces
from datafree_nas.data.preprocessing import Preprocessing
from datafree_nas.runtime import checkpoint, records
from datafree_nas.runtime.errors import UserError, did_you_mean
from datafree_nas.runtime.files import as_path
from datafree_nas.spaces.space import Architecture, Space

CARD = "student.json"


class Student(NamedTuple):
    """A network with its weights.

    Attributes:
        space: search space of the architecture.
        architecture: option taken at every choice of the space.
        preprocessing: normalization of the images.
        variables: collections `params` and `batch_stats`.
    """

    space: Space
    architecture: Architecture
    preprocessing: Preprocessing
    variables: Any

    def logits(self, images: UInt8[Array, "b h w c"]) -> Float[Array, "b k"]:
        """Computes the logits of a batch of bytes; jittable."""
        with jax.ensure_compile_time_eval():  # some spaces compute what network it is
            network = self.space.network(self.architecture)
        return network.apply(self.variables, self.preprocessing(images), train=False)


def card(student: Student) -> dict[str, Any]:
    """Returns what `load` needs beside the variables, ready for JSON.

    Returns:
        `space`: its name and settings, `image_size` and `num_classes` among them. `architecture`:
        as the space writes it. `mean`, `std`: per channel, of pixels in [0, 1]. `weights`: a
        checksum.
    """
    space = student.space
    return {
        "space": {"name": space.name, **dataclasses.asdict(space)},
        "architecture": space.encode(student.architecture),
        **student.preprocessing._asdict(),
        "weights": checkpoint.digest(student.variables),
    }


def load(directory: str | Path, space: str = "") -> Student:
    """Reads a student that the train stage left.

    Args:
        directory: folder such as `runs/digits_spos/student/synthetic`.
        space: path `package.module:Class` of the search space, if it is not one of this package. A
            card only has its name; nothing is imported because a card says so.

    Raises:
        UserError: there is none, or its card is damaged.
    """
    directory = as_path(directory)
    found = records.read(directory / CARD, records.STUDENT, "train the student again")
    try:
        settings = {name: _hashable(value) for name, value in found["space"].items()}
        built = spaces.create_space(_space_name(settings.pop("name"), space), **settings)
        architecture = built.decode(found["architecture"])
        preprocessing = Preprocessing(tuple(found["mean"]), tuple(found["std"]))
    except UserError as error:
        raise UserError(f"{directory / CARD} is no card of a student: {error}") from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{directory / CARD} is no card of a student: {error!r}") from None
    variables = checkpoint.load_variables(directory / "variables", found)
    return Student(built, architecture, preprocessing, jax.tree.map(jnp.asarray, variables))


def _space_name(name: str, given: str) -> str:
    """Returns the name by which the space of a card is found."""
    if given:
        return given
    if name not in spaces.names():
        raise UserError(
            f"its search space {name!r} is unknown{did_you_mean(name, spaces.names())} (if it is "
            "your own, name it: space='package.module:Class')"
        )
    return name


def _hashable(value: Any) -> Any:
    """Turns JSON's lists into tuples, as Linen modules need settings that hash."""
    return tuple(map(_hashable, value)) if isinstance(value, list) else value
