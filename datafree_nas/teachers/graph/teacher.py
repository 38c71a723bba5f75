"""Teachers whose network is a graph, and the file of the graph."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from datafree_nas.interop import exported
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import read_json, write_json
from datafree_nas.teachers import registry
from datafree_nas.teachers.graph import trace, weights
from datafree_nas.teachers.graph.convert import Converted, convert
from datafree_nas.teachers.graph.graph import MALFORMED, described, from_json, to_json
from datafree_nas.teachers.graph.network import GraphNetwork, accepts
from datafree_nas.teachers.teacher import Teacher

FILE = "graph.json"
VERSION = 1
_IMAGES = 3  # of a trial without values, a number that is no other size of a network


def from_torch(
    module: Any,
    *,
    image_size: tuple[int, int, int],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    name: str = "",
) -> tuple[Teacher, Any]:
    """Makes a teacher of a PyTorch classifier, with its weights.

    Args:
        module: `nn.Module` that returns logits `[b, k]` of normalized images `[b, c, h, w]`. It is
            neither changed nor needed afterwards.
        image_size: `(h, w, c)` of the images.
        mean: mean of each channel of the training images, of pixels in [0, 1].
        std: standard deviation of each channel, of pixels in [0, 1].
        name: name of the network, for messages and the report; default: that of its class.

    Returns:
        The teacher and its variables, for `teachers.save`.

    Raises:
        UserError: PyTorch cannot export the network, or it is no classifier with BatchNorm whose
            operations are known here; or its graph computes other logits than itself.
    """
    image_size = tuple(int(side) for side in image_size)  # type: ignore[assignment]
    converted, variables = trace.trace(module, image_size)
    trace.compare(module, converted, variables, image_size)
    teacher = build(converted, name or type(module).__name__, mean, std)
    return replace(teacher, model=_with_half(teacher.model, module, image_size)), variables


def _with_half(
    network: GraphNetwork, module: Any, image_size: tuple[int, int, int]
) -> GraphNetwork:
    """Adds the graph for images of half the size, with which synthesis begins.

    It is left out if it is the same, or if PyTorch cannot run the network on such images.
    """
    height, width, channels = image_size
    half = (height // 2, width // 2)
    try:
        graph = trace.trace(module, (*half, channels))[0].graph
    except UserError:
        return network
    if graph == network.graph or graph.parameters != network.graph.parameters:
        return network
    return GraphNetwork(network.graph, ((half, graph),))


def from_exported(
    file: Path,
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    image_size: tuple[int, int, int] | None = None,
) -> tuple[Teacher, Any]:
    """Makes a teacher of a file of `torch.export.save`, without PyTorch.

    Args:
        file: path of the file; nothing in it is run.
        mean: mean of each channel of the training images, of pixels in [0, 1].
        std: standard deviation of each channel, of pixels in [0, 1].
        image_size: `(h, w, c)` of the images, where it is not the size of the export.

    Raises:
        UserError: the file is damaged, or its network is no classifier with BatchNorm whose
            operations are known here.
    """
    program = exported.read(file)
    converted = convert(program)
    variables = weights.variables(converted.graph, program.tensors)
    if image_size:
        converted = converted._replace(image_size=image_size)
    return build(converted, file.stem, mean, std), variables


def build(
    converted: Converted, name: str, mean: tuple[float, ...], std: tuple[float, ...]
) -> Teacher:
    """Builds the description of a teacher whose network is a graph.

    Raises:
        UserError: the graph does not run, returns other logits, has fewer than two classes, or mean
            and std are not one number a channel.
    """
    teacher = Teacher(
        arch=name,
        model=GraphNetwork(converted.graph),
        num_classes=converted.num_classes,
        image_size=converted.image_size,
        mean=tuple(mean),
        std=tuple(std),
        head=converted.head,
    )
    registry.check(teacher)
    _check_runs(teacher)
    return teacher


def _check_runs(teacher: Teacher) -> None:
    """Raises `UserError` if the network does not give logits of its images; computes nothing."""
    images = jax.ShapeDtypeStruct((_IMAGES, *teacher.image_size), jnp.float32)

    def logits(key: jax.Array, images: jax.Array) -> Any:
        return teacher.model.init_with_output(key, images)[0]

    try:
        found = jax.eval_shape(logits, jax.random.key(0), images).shape
    except Exception as error:  # whatever an operation raises whose arguments do not fit
        reason = " ".join(str(error).partition("\n")[0].split())[:200]
        notes = [" ".join(note.split()) for note in getattr(error, "__notes__", ())]
        place = next((note for note in notes if note.startswith("at ")), type(error).__name__)
        raise UserError(
            f"the network {teacher.arch} cannot be run on {_IMAGES} images of size "
            f"{teacher.image_size}: {reason} ({place}); if it takes one size or one number of "
            "images only, say its --image_size, and export with "
            "dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)"
        ) from None
    if found != (_IMAGES, teacher.num_classes):
        raise UserError(
            f"the network {teacher.arch} gives {found} for {_IMAGES} images, not "
            f"{(_IMAGES, teacher.num_classes)}; export it with a free number of images: "
            "dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)"
        )


def digest(network: GraphNetwork) -> str:
    """Returns the SHA-256 checksum of a network's graphs, in hexadecimal."""
    return hashlib.sha256(json.dumps(_content(network), sort_keys=True).encode()).hexdigest()


def write(directory: Path, network: GraphNetwork) -> None:
    """Writes the file of a network's graphs."""
    write_json(directory / FILE, _content(network))


def _content(network: GraphNetwork) -> dict[str, Any]:
    return {
        "version": VERSION,
        "graph": to_json(network.graph),
        "at_sizes": [
            {"height": height, "width": width, "graph": to_json(graph)}
            for (height, width), graph in network.at_sizes
        ],
    }


def _network(content: Any) -> GraphNetwork:
    """Reverses `_content`."""
    try:
        if content["version"] != VERSION:
            version = repr(content["version"])[:20]
            raise UserError(f"is of version {version}, this program reads {VERSION}")
        at_sizes = [
            ((int(each["height"]), int(each["width"])), from_json(each["graph"]))
            for each in content["at_sizes"]
        ]
        return GraphNetwork(from_json(content["graph"]), tuple(at_sizes))
    except MALFORMED as error:
        raise UserError(f"is no graph of a network ({described(error)})") from None


def read(directory: Path, checksum: str) -> GraphNetwork:
    """Reads the file of a network's graphs.

    Args:
        directory: folder of the teacher.
        checksum: `digest` of the network, from the teacher's card.

    Raises:
        UserError: the file is missing, damaged, changed, or uses operations that are not known.
    """
    file = directory / FILE
    if not file.exists():
        raise UserError(f"{file} is missing; restore it, or port the teacher again")
    try:
        network = _network(read_json(file))
    except UserError as error:
        raise UserError(f"{file} {error}; restore it, or port the teacher again") from None
    graphs = [network.graph, *(graph for _, graph in network.at_sizes)]
    unknown = sorted({node.op for graph in graphs for node in graph.nodes if not accepts(node)})
    if unknown:
        names = " ".join(", ".join(unknown).split())[:200]
        raise UserError(f"{file} uses operations that are not known here: {names}")
    if digest(network) != checksum:
        raise UserError(f"{file} has been changed since it was written; port the teacher again")
    return network
