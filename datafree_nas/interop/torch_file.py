"""Checkpoint files, read without ever running what they hold, and written as safetensors."""

import argparse
import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import write_bytes


class Tensor(NamedTuple):
    """A tensor in a file.

    Attributes:
        shape: of it.
        dtype: its name, e.g. `float16`.
        load: reads it as float32; the file stays as it is.
    """

    shape: tuple[int, ...]
    dtype: str
    load: Callable[[], np.ndarray]


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint; those in nested dicts have dotted names.

    Args:
        path: `.safetensors`, which needs no PyTorch, or what `torch.save` wrote. A bare state dict
            gives `conv1.weight`; one under `state_dict` gives `state_dict.conv1.weight`.

    Raises:
        UserError: no such file, not a checkpoint, or a pickle that holds more than tensors.
    """
    if not path.is_file():
        raise UserError(f"no checkpoint at {path}")
    tensors = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    if not tensors:
        raise UserError(f"{path} holds no tensors; save the model's state_dict() and port that")
    return tensors


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    import safetensors

    try:
        file = safetensors.safe_open(path, framework="flax")
        return {key: _lazy(file, key) for key in file.keys()}  # noqa: SIM118  # it is no mapping
    except Exception as error:  # whatever the reader stumbles over, the file is at fault
        raise UserError(f"{path} is not a readable safetensors file: {_reason(error)}") from None


def _lazy(file: Any, key: str) -> Tensor:
    part = file.get_slice(key)

    def load() -> np.ndarray:
        return np.asarray(file.get_tensor(key)).astype(np.float32)

    return Tensor(tuple(part.get_shape()), part.get_dtype(), load)


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        import torch
    except ImportError:
        raise UserError(
            f"reading {path} needs PyTorch; install it: pip install 'datafree_nas[torch]'"
        ) from None

    def tensor(value: Any) -> Tensor:
        dtype = str(value.dtype).removeprefix("torch.")
        return Tensor(tuple(value.shape), dtype, lambda: value.detach().float().numpy())

    try:
        with (
            warnings.catch_warnings(action="ignore"),  # of archives that are refused anyway
            torch.serialization.safe_globals(_plain_data()),
        ):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
        return {name: tensor(value) for name, value in _flat(loaded, torch.Tensor)}
    except Exception as error:  # whatever the reader stumbles over, the file is at fault
        raise UserError(
            f"{path} is damaged or no plain checkpoint of tensors ({_reason(error)}); "
            "save the model's state_dict() and port that file"
        ) from None


def _plain_data() -> list[Any]:
    """What training scripts save beside the weights and what cannot run anything."""
    scalar = type(np.float64(0)).__reduce__(np.float64(0))[0]
    kinds = [type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "?")]
    return [argparse.Namespace, np.dtype, scalar, *kinds]


def _flat(
    tree: Any, leaf: type, prefix: str = "", parents: tuple[int, ...] = ()
) -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings by dotted name; one that holds itself is not entered again."""
    if isinstance(tree, leaf):
        yield prefix, tree
    elif isinstance(tree, Mapping) and id(tree) not in parents:
        for name, value in tree.items():
            inner = f"{prefix}.{name}" if prefix else str(name)
            yield from _flat(value, leaf, inner, (*parents, id(tree)))


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def write(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Writes a safetensors file that `safetensors.torch.load_file` reads, whole or not at all.

    Args:
        path: of the file; its folder exists.
        tensors: by PyTorch's name, contiguous.
        metadata: kept in the file's header.
    """
    import safetensors.numpy

    write_bytes(path, safetensors.numpy.save(dict(tensors), {"format": "pt", **metadata}))


def sha256(path: Path) -> str:
    """The checksum of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
