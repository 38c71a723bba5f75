"""Takes the graph of a PyTorch module, by `torch.export`; nothing else here needs PyTorch."""

import copy
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np

from datafree_nas.interop import exported
from datafree_nas.interop.exported import Program
from datafree_nas.runtime.errors import UserError
from datafree_nas.teachers.graph import weights
from datafree_nas.teachers.graph.convert import Converted, convert
from datafree_nas.teachers.graph.network import GraphNetwork
from datafree_nas.teachers.graph.serialized import UnsupportedError

_IMAGES = 2  # PyTorch takes 0 and 1 for fixed sizes
_TOLERANCE = 1e-3  # of the largest logit
_MENDS = (
    "usual reasons are branches on values of tensors, calls of NumPy, and custom autograd "
    "functions; see torch.export's documentation, or export it yourself and port the .pt2 file"
)


def import_torch() -> ModuleType:
    """Imports PyTorch.

    Raises:
        UserError: it is not installed, or too old to export.
    """
    try:
        import torch
    except ImportError:
        raise UserError(
            "this needs PyTorch, where the network comes from: pip install torch; the folder that "
            "is written runs without it"
        ) from None
    if not hasattr(getattr(torch, "export", None), "save") or not hasattr(torch.export, "Dim"):
        raise UserError(f"PyTorch {torch.__version__} cannot export networks; install 2.9 or later")
    return torch


def trace(module: Any, image_size: tuple[int, int, int]) -> tuple[Converted, dict[str, Any]]:
    """Takes a module's graph and weights.

    Args:
        module: `nn.Module`; it is not changed.
        image_size: `(h, w, c)` of its images.

    Returns:
        The network as a graph, and its variables.

    Raises:
        UserError: PyTorch cannot export it, it uses an operation that is not known here, or it is
            no classifier of images with BatchNorm.
    """
    torch = import_torch()
    module = _for_evaluation(torch, module)
    program = _exported(torch, module, image_size)
    try:
        data = _saved(torch, program)
        converted = convert(data)
    except UnsupportedError as error:
        data = _saved(torch, program.run_decompositions())
        try:
            converted = convert(data)
        except UnsupportedError:
            raise error from None  # which says it in the user's terms
    return converted, weights.variables(converted.graph, data.tensors)


def _for_evaluation(torch: ModuleType, module: Any) -> Any:
    try:
        return copy.deepcopy(module).to("cpu", torch.float32).eval()
    except Exception as error:  # whatever the module's own code raises
        raise UserError(
            f"PyTorch cannot copy the network: {said(error)}; keep tensors as parameters or "
            "buffers, and what cannot be copied outside of the module"
        ) from None


def said(error: BaseException) -> str:
    """Returns kind and first line of an error that PyTorch or a user's own code has raised."""
    detail = str(error).strip().partition("\n")[0][:300]
    return f"{type(error).__name__}: {detail}" if detail else type(error).__name__


def _exported(torch: ModuleType, module: Any, image_size: tuple[int, int, int]) -> Any:
    """Exports for any number of images of one size.

    With free height and width, PyTorch's algebra of sizes takes minutes for networks that pad as
    TensorFlow does. The graph still runs on images of other sizes where it names none.
    """
    height, width, channels = image_size
    images = torch.zeros(_IMAGES, channels, height, width)
    sizes = {0: torch.export.Dim.DYNAMIC}
    try:
        with quiet():
            return torch.export.export(module, (images,), dynamic_shapes=(sizes,))
    except Exception as error:  # whatever the module's own code raises
        raise UserError(
            f"PyTorch cannot export the network for images {image_size}: {said(error)} ({_MENDS})"
        ) from None


def _saved(torch: ModuleType, program: Any) -> Program:
    """Saves an exported program and reads it, as if it were a user's file."""
    for node in program.graph.nodes:
        for what in ("stack_trace", "from_node", "torch_fn"):
            node.meta.pop(what, None)  # most of the file otherwise
    with tempfile.TemporaryDirectory() as directory, quiet():
        file = Path(directory) / "network.pt2"
        torch.export.save(program, file)
        found = exported.read(file)
        return found._replace(
            tensors={name: _loaded(stored) for name, stored in found.tensors.items()}
        )


def _loaded(stored: exported.Stored) -> exported.Stored:
    value = stored.load()
    return stored._replace(load=lambda: value)


def compare(
    module: Any,
    converted: Converted,
    variables: dict[str, Any],
    image_size: tuple[int, int, int],
) -> None:
    """Compares the logits of a graph with those of the module that it was taken from.

    Raises:
        UserError: they differ.
    """
    torch = import_torch()
    images = np.random.default_rng(0).normal(size=(3, *image_size)).astype(np.float32)
    with torch.no_grad(), quiet():
        x = torch.from_numpy(images.transpose(0, 3, 1, 2)).contiguous()
        answer = _for_evaluation(torch, module)(x)
    wanted = _logits(answer, converted.num_classes)
    network = GraphNetwork(converted.graph)
    found = np.asarray(jax.jit(network.apply)(variables, images))
    error, largest = np.abs(found - wanted).max(), np.abs(wanted).max()
    if not error <= _TOLERANCE * largest:
        raise UserError(
            f"the graph of the network computes other logits than the network itself (difference "
            f"{error:.2g}, largest logit {largest:.2g}); does it draw random numbers, or keep a "
            "state from image to image?"
        )


def _logits(answer: Any, num_classes: int) -> np.ndarray:
    """Finds the logits in what the module returns."""
    several = list(answer.values() if isinstance(answer, Mapping) else answer)
    if hasattr(answer, "shape"):
        several = [answer]
    (logits,) = (v for v in several if getattr(v, "ndim", 0) == 2 and v.shape[1] == num_classes)
    return np.asarray(logits.detach().numpy())


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps warnings and progress of PyTorch and of a user's own code from the terminal.

    PyTorch also logs and prints what it knows of a network that it cannot export, in many lines.
    """
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
