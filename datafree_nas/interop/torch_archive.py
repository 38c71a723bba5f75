"""Reads tensors from files of `torch.save`, without PyTorch and without running anything."""

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from datafree_nas.interop import pickle_data
from datafree_nas.interop.pickle_data import Name, Object

MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle in a file that is older than PyTorch 1.6
_MAX_RANK = 64
_MAX_LENGTH = 1 << 63
_MAX_WRAPPERS = 10  # calls around a tensor, e.g. one that makes it a parameter
_MAX_STEPS = 1000  # instructions of each small pickle before the tree in an old file
_REBUILD = "torch._utils._rebuild_"

DTYPES = {
    "float64": np.dtype(np.float64),
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float8_e4m3fn": np.dtype(ml_dtypes.float8_e4m3fn),
    "float8_e5m2": np.dtype(ml_dtypes.float8_e5m2),
    "complex64": np.dtype(np.complex64),
    "complex128": np.dtype(np.complex128),
    "int64": np.dtype(np.int64),
    "int32": np.dtype(np.int32),
    "int16": np.dtype(np.int16),
    "int8": np.dtype(np.int8),
    "uint64": np.dtype(np.uint64),
    "uint32": np.dtype(np.uint32),
    "uint16": np.dtype(np.uint16),
    "uint8": np.dtype(np.uint8),
    "bool": np.dtype(np.bool_),
}
_STORAGES = {
    "Double": "float64",
    "Float": "float32",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "ComplexFloat": "complex64",
    "ComplexDouble": "complex128",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
    "Untyped": "uint8",
}


class Storage(NamedTuple):
    """Numbers stored outside of the pickle; tensors are views of them.

    Attributes:
        key: name of the storage in the file.
        dtype: type of the numbers, as PyTorch names it.
    """

    key: str
    dtype: str


class Archive(NamedTuple):
    """A file of `torch.save`.

    Attributes:
        tree: plain data of its pickle, see `pickle_data.load`; storages are `Storage` there.
        sizes: number of bytes of each storage, by its key.
        read: function that returns the bytes of a storage, given its key.
    """

    tree: Any
    sizes: Mapping[str, int]
    read: Callable[[str], bytes]


class Tensor(NamedTuple):
    """A tensor in a file.

    Attributes:
        shape: shape of the tensor.
        dtype: name of its type in the file, e.g. `float16`.
        load: function that reads the tensor as float32.
        group: dotted name of the dict that holds it; empty for the top of the file.
    """

    shape: tuple[int, ...]
    dtype: str
    load: Callable[[], np.ndarray]
    group: str = ""


def open_zip(path: Path) -> Archive:
    """Opens a file of PyTorch 1.6 or later: a zip archive whose members are not compressed.

    Raises:
        Exception: an error of any kind, if the file is damaged or something else.
    """
    with zipfile.ZipFile(path) as file:
        members = {info.filename: info for info in file.infolist()}
    pickled = next(name for name in members if name.count("/") == 1 and name.endswith("/data.pkl"))
    root = pickled.removesuffix("data.pkl")

    def read(member: str) -> bytes:
        return read_member(path, members[member])

    if f"{root}byteorder" in members and read(f"{root}byteorder") != b"little":
        raise ValueError("it was written on a big-endian machine")
    sizes = {
        name.removeprefix(f"{root}data/"): info.file_size
        for name, info in members.items()
        if name.startswith(f"{root}data/")
    }
    tree = pickle_data.load(io.BytesIO(read(pickled)), _storage)
    return Archive(tree, sizes, lambda key: read(f"{root}data/{key}"))


def read_member(path: Path, info: zipfile.ZipInfo) -> bytes:
    """Reads a member that is not compressed, so that no member is larger than the file."""
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise ValueError(f"{info.filename} in it is compressed, which torch.save never does")
    with path.open("rb") as file:
        file.seek(info.header_offset + 26)
        file.seek(sum(struct.unpack("<HH", file.read(4))), io.SEEK_CUR)
        content = _read(file, path, info.file_size)
    if info.CRC and zlib.crc32(content) != info.CRC:  # 0 if PyTorch left out the checksum
        raise ValueError(f"the checksum of {info.filename} in it differs")
    return content


def _read(file: io.BufferedReader, path: Path, size: int) -> bytes:
    if not 0 <= size <= path.stat().st_size - file.tell():
        raise ValueError("it is truncated")
    return file.read(size)


def open_old(path: Path) -> Archive:
    """Opens a file of PyTorch before 1.6: pickles, and the storages after them.

    Raises:
        Exception: an error of any kind, if the file is damaged or something else.
    """
    item_sizes: dict[str, int] = {}

    def persistent(identity: Any) -> Any:
        if identity[0] == "module":  # a class and its source code
            return identity[1]
        storage = _storage(identity)
        item_sizes[storage.key] = DTYPES[storage.dtype].itemsize
        return storage

    with path.open("rb") as file:
        if pickle_data.load(file) != MAGIC:
            raise ValueError("it is a pickle that torch.save did not write")
        _version, system = (pickle_data.load(file, max_steps=_MAX_STEPS) for _ in range(2))
        if system["little_endian"] is not True:
            raise ValueError("it was written on a big-endian machine")
        tree, keys = pickle_data.load(file, persistent), pickle_data.load(file)
        places = {}
        for key in keys:
            (count,) = struct.unpack("<q", _read(file, path, 8))
            places[key] = (file.tell(), count * item_sizes[key])
            if not 0 <= places[key][1] <= path.stat().st_size - file.tell():
                raise ValueError("it is truncated")
            file.seek(places[key][1], io.SEEK_CUR)

    def read(key: str) -> bytes:
        start, size = places[key]
        with path.open("rb") as file:
            file.seek(start)
            return _read(file, path, size)

    return Archive(tree, {key: size for key, (_, size) in places.items()}, read)


def _storage(identity: Any) -> Storage:
    """Reads the pickle's reference to a storage: a tag, its type, key, device and length."""
    tag, kind, key, _device, _count, *view = identity
    if tag != "storage" or any(view) or not isinstance(kind, Name) or not isinstance(key, str):
        raise ValueError("it refers to something that is not a whole storage")
    name = kind.rpartition(".")[2].removesuffix("Storage")
    return Storage(key, _STORAGES.get(name, name))


def _shape(numbers: Any) -> tuple[int, ...]:
    """Returns a shape, if it is a tuple of whole numbers that are not negative.

    Raises:
        ValueError: it is anything else.
    """
    if not isinstance(numbers, tuple) or len(numbers) > _MAX_RANK:
        raise ValueError("a shape in it is no shape")
    if any(type(number) is not int or not 0 <= number < _MAX_LENGTH for number in numbers):
        raise ValueError("a shape in it is no shape")
    return numbers


def tensor(value: Any, archive: Archive) -> Tensor | None:
    """Returns the tensor that a value in the archive's tree stands for; None if it is no tensor."""
    for _ in range(_MAX_WRAPPERS):
        if not isinstance(value, Object) or not value.name.startswith(_REBUILD):
            break
        kind, args = value.name.removeprefix(_REBUILD), value.args
        if kind in ("tensor", "tensor_v2", "tensor_v3"):
            storage, offset, shape, strides, *more = args
            dtype = more[2].removeprefix("torch.") if kind == "tensor_v3" else storage.dtype
            return _view(archive, storage, offset, shape, strides, dtype)
        if kind in ("parameter", "parameter_with_state"):
            value = args[0]
        elif kind == "from_type_v2":
            value = Object(args[0], args[2])
        else:
            break  # quantized or sparse: not a tensor of plain numbers
    return None


def _view(
    archive: Archive, storage: Storage, offset: Any, shape: Any, strides: Any, dtype: str
) -> Tensor:
    """Builds a tensor whose numbers lie in a storage, `strides` apart, beginning at `offset`."""
    shape, strides, (offset,) = _shape(shape), _shape(strides), _shape((offset,))
    if len(shape) != len(strides):
        raise ValueError("a shape in it is no shape")

    def load() -> np.ndarray:
        kind = DTYPES.get(dtype)
        if kind is None or kind.kind == "c":
            raise ValueError(f"its values are {dtype}")
        count = archive.sizes.get(storage.key, 0) // kind.itemsize
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        if math.prod(shape) > count or (math.prod(shape) and last >= count):
            raise ValueError("the file holds fewer values than its shape has")
        values = np.frombuffer(archive.read(storage.key), kind, count)[offset:]
        steps = [step * kind.itemsize for step in strides]
        return np.lib.stride_tricks.as_strided(values, shape, steps).astype(np.float32)

    return Tensor(shape, dtype, load)
