"""Reads checkpoint files without running any code in them, and writes safetensors files."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from datafree_nas.interop import file_kinds, torch_archive
from datafree_nas.interop.pickle_data import Object
from datafree_nas.interop.torch_archive import Archive, Tensor
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import as_path, write_bytes
from datafree_nas.runtime.terminal import printable

_MAX_TENSORS = 50_000
_TOO_MANY = f"it has more than {_MAX_TENSORS} tensors"
_MAX_OTHERS = 1000  # objects that are no tensors, kept so that messages can say what a file holds
_MAX_DEPTH = 20  # dicts inside of dicts
_MAX_KEY = 200  # characters
_MAX_NAME = 1000  # characters of a tensor's dotted name
_SAVE_WEIGHTS = "save the model's state_dict() by torch.save and port that file"


def read(place: str | Path) -> dict[str, Tensor]:
    """Reads the names, shapes and places of a checkpoint's tensors; PyTorch is not needed.

    Args:
        place: path of a `.safetensors` file, or of a file of `torch.save` with any other suffix.
            Anything in it that is not a tensor is skipped, and nothing in it is run.

    Returns:
        Tensors by dotted name: a bare state dict gives `conv1.weight`; one under the key
        `state_dict` gives `state_dict.conv1.weight`.

    Raises:
        UserError: the file does not exist, is not a checkpoint, or is a whole pickled network.
    """
    path = as_path(place)
    try:
        return _read(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None


def _read(path: Path) -> dict[str, Tensor]:
    if path.is_dir():
        raise UserError(f"{path} is a folder; name the checkpoint in it")
    if not path.is_file():
        raise UserError(f"no checkpoint at {path}")
    if other := file_kinds.foreign(path):
        raise UserError(f"{path} is {other}")
    tensors = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    if not tensors:
        raise UserError(f"{path} holds no tensors; {_SAVE_WEIGHTS}")
    return tensors


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    import safetensors

    try:
        file = safetensors.safe_open(path, framework="flax")
        keys = file.keys()
        if len(keys) > _MAX_TENSORS:
            raise ValueError(_TOO_MANY)
        return {_printable(key): _lazy(file, key) for key in keys}
    except Exception as error:  # readers raise errors of many kinds for a bad file
        raise UserError(f"{path} is not a readable safetensors file: {_reason(error)}") from None


def _lazy(file: Any, key: str) -> Tensor:
    part = file.get_slice(key)

    def load() -> np.ndarray:
        return np.asarray(file.get_tensor(key)).astype(np.float32)

    return Tensor(tuple(part.get_shape()), part.get_dtype(), load)


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        archive = _open(path)
        tensors, others = _contents(archive)
    except Exception as error:  # readers raise errors of many kinds for a bad file
        raise UserError(
            f"{path} is damaged or no checkpoint of torch.save ({_reason(error)}); "
            f"get it again, or {_SAVE_WEIGHTS}"
        ) from None
    if not any(name.endswith("running_mean") for name in tensors):
        _refuse_network(path, others)
    if not tensors and others:
        name, other = next(iter(others.items()))
        raise UserError(f"{path} holds no tensors; {_said(name, other)}; {_SAVE_WEIGHTS}")
    return tensors


def _open(path: Path) -> Archive:
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
    return torch_archive.open_zip(path) if zipped else torch_archive.open_old(path)


def _contents(archive: Archive) -> tuple[dict[str, Tensor], dict[str, Object]]:
    """Returns the tensors of an archive and its other objects, by dotted name."""
    tensors: dict[str, Tensor] = {}
    others: dict[str, Object] = {}
    for group, key, leaf in _leaves(archive.tree):
        name = f"{group}.{key}" if group else key
        if len(name) > _MAX_NAME:
            raise ValueError(f"a name in it has more than {_MAX_NAME} characters")
        if tensor := torch_archive.tensor(leaf, archive):
            tensors[name] = tensor._replace(group=group)
        elif isinstance(leaf, Object) and len(others) < _MAX_OTHERS:
            others[name] = leaf
        if len(tensors) > _MAX_TENSORS:
            raise ValueError(_TOO_MANY)
    return tensors, others


def _leaves(tree: Any) -> Iterator[tuple[str, str, Any]]:
    """Yields each value that is not a dict: dotted name of its dict, its key there, the value.

    Each dict is entered only once, even if several places refer to it.
    """
    entered: set[int] = set()
    read: dict[int, Mapping[Any, Any]] = {}  # from lists of pairs, which many objects may share

    def entries(node: Any) -> Mapping[Any, Any]:
        if not isinstance(node, Object):
            return node if isinstance(node, dict) else {}
        if node.name != "collections.OrderedDict" or not node.args:
            return node.items
        pairs = node.args[0]  # the form in which Python 2 pickles it
        if id(pairs) not in read:
            read[id(pairs)] = {key: value for key, value in pairs if isinstance(key, str)}
        return read[id(pairs)]

    def enter(inside: Mapping[Any, Any], name: str, depth: int) -> Iterator[tuple[str, str, Any]]:
        entered.add(id(inside))
        for key, value in inside.items():
            key, inner = _printable(key), entries(value)
            if not inner:
                yield name, key, value
            elif id(inner) not in entered and depth < _MAX_DEPTH:
                yield from enter(inner, f"{name}.{key}" if name else key, depth + 1)

    return enter(entries(tree), "", 0) if entries(tree) else iter([("", "", tree)])


def _printable(name: Any) -> str:
    """Makes a name fit for one line: not too long, and without control characters."""
    text = name if isinstance(name, str) else getattr(name, "name", "?")
    return printable(text[:_MAX_KEY])[:_MAX_KEY]


def _refuse_network(path: Path, others: Mapping[str, Object]) -> None:
    """Raises an error if the file holds a pickled module."""
    for name, other in others.items():
        if isinstance(other.state, dict) and "_modules" in other.state:
            raise UserError(
                f"{path} holds a whole pickled network ({_said(name, other)}), which only its own "
                "code can load; with that code, torch.save its state_dict() and port that file, or "
                "export it: p = torch.export.export(net.eval(), (torch.zeros(2, 3, H, W),), "
                "dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)); torch.export.save(p, "
                "'net.pt2'); and say --model=net.pt2"
            )


def _said(name: str, other: Object) -> str:
    return f"{name or 'all of it'} is an object of {_printable(other.name)}"


def _reason(error: Exception) -> str:
    return _printable((str(error).strip().splitlines() or [type(error).__name__])[0])


def load(name: str, tensor: Tensor) -> np.ndarray:
    """Reads a tensor as float32.

    Args:
        name: name of the tensor, for the error line.
        tensor: tensor that `read` returned.

    Raises:
        UserError: the file is damaged there, or the values are not real numbers.
    """
    try:
        return tensor.load()
    except Exception as error:  # readers raise errors of many kinds for a bad file
        raise UserError(f"{name} cannot be read ({_reason(error)}); get the file again") from None


def write(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Writes a safetensors file that `safetensors.torch.load_file` reads, completely or not at all.

    Args:
        path: path of the file; its folder must exist.
        tensors: contiguous arrays by their names in PyTorch.
        metadata: text entries for the header of the file.
    """
    import safetensors.numpy

    write_bytes(path, safetensors.numpy.save(dict(tensors), {"format": "pt", **metadata}))


def sha256(path: Path) -> str:
    """Returns the SHA-256 checksum of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
