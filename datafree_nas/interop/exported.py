"""Reads files of `torch.export.save` without PyTorch: nothing in them is run or unpickled."""

import json
import math
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from datafree_nas.interop.torch_archive import DTYPES, read_member
from datafree_nas.runtime.errors import UserError

# numbers of types in the file's JSON (PyTorch's torch/_export/serde/schema.py)
SCALAR_TYPES = {
    1: "uint8",
    2: "int8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "float16",
    7: "float32",
    8: "float64",
    10: "complex64",
    11: "complex128",
    12: "bool",
    13: "bfloat16",
    28: "uint16",
    29: "float8_e4m3fn",
    30: "float8_e5m2",
}
_SCHEMA = 8  # major version of the JSON that PyTorch 2.6 to 2.13 write
_MOST_SHARED = 1 << 22  # values that tensors may have beyond those in the file, by expand()
_SHARING = 4  # and how often, as some tensors have two names
_AGAIN = "save it again: torch.export.save(torch.export.load(FILE), NEW), by PyTorch 2.9 or later"


class Stored(NamedTuple):
    """A tensor in the file.

    Attributes:
        shape: shape of the tensor.
        dtype: name of its type, e.g. `float32`.
        load: function that reads it.
    """

    shape: tuple[int, ...]
    dtype: str
    load: Callable[[], np.ndarray]


class Program(NamedTuple):
    """An exported network.

    Attributes:
        data: content of the file's JSON: `graph_module`, `range_constraints` and more.
        tensors: weights, buffers and constants by PyTorch's names.
    """

    data: dict[str, Any]
    tensors: dict[str, Stored]


def read(path: Path) -> Program:
    """Reads a file of `torch.export.save`.

    Raises:
        UserError: the file is something else, damaged, of another version, or holds something that
            can only be unpickled.
    """
    with _one_line(path):
        return _read(path)


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """Says in one line what is wrong with the file, whatever reading it raises."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a directory; name a file of torch.export.save") from None
    except Exception as error:
        detail = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(
            f"{path} cannot be read as a file of torch.export.save ({detail})"
        ) from None


def _read(path: Path) -> Program:
    with zipfile.ZipFile(path) as file:
        infos = file.infolist()
    members = {info.filename: info for info in infos}
    if len(members) != len(infos):
        raise ValueError("two members have the same name")
    if any(name.endswith("serialized_exported_program.json") for name in members):
        raise UserError(f"{path} is of an older format of torch.export; {_AGAIN}")
    models = [name for name in members if "/models/" in name and name.endswith(".json")]
    if not models:
        raise UserError(f"{path} holds no exported network; write one by torch.export.save")
    if len(models) > 1:
        raise UserError(f"{path} holds {len(models)} exported networks; save one in a file")
    root, _, model = models[0].removesuffix(".json").partition("/models/")

    def content(name: str) -> bytes:
        return read_member(path, members[name])

    def parsed(name: str) -> Any:
        return json.loads(content(name)) if name in members else {"config": {}}

    if f"{root}/byteorder" in members and content(f"{root}/byteorder") != b"little":
        raise ValueError("it was written on a big-endian machine")
    data = parsed(models[0])
    _check_version(path, data)
    tensors: dict[str, Stored] = {}
    for kind in ("weights", "constants"):
        folder = f"{root}/data/{kind}"
        for key, entry in parsed(f"{folder}/{model}_{kind}_config.json")["config"].items():
            name = f"{folder}/{entry['path_name']}"
            if not (key + name).isprintable():
                raise ValueError("a name in it has characters that cannot be printed")
            tensors[key] = _stored(path, key, entry, members, name)
    count = sum(math.prod(tensor.shape) for tensor in tensors.values())
    if count > _MOST_SHARED + _SHARING * path.stat().st_size:
        raise UserError(
            f"{path} is damaged, or repeats values by expand(): its tensors have more values than "
            "it holds; call .contiguous() on expanded tensors before torch.export.export"
        )
    return Program(data, tensors)


def _check_version(path: Path, data: dict[str, Any]) -> None:
    version = data["schema_version"]["major"]
    if type(version) is not int:
        raise ValueError("its version is no number")
    if version != _SCHEMA:
        writer = " ".join(str(data.get("torch_version", "unknown")).split())[:40]
        raise UserError(
            f"{path} has version {version} of the format of torch.export, this program reads "
            f"{_SCHEMA} (it was written by PyTorch {writer}); {_AGAIN}"
        )


def _stored(
    path: Path, key: str, entry: dict[str, Any], members: dict[str, zipfile.ZipInfo], name: str
) -> Stored:
    if entry.get("use_pickle"):
        raise UserError(
            f"{path} stores {key} as a pickle, which could run code and is not read; export plain "
            "tensors (no quantized weights, no subclasses of torch.Tensor)"
        )
    meta = entry["tensor_meta"]
    number = meta["dtype"]
    if type(number) is not int:
        raise ValueError(f"the type of {key} is no number")
    dtype = SCALAR_TYPES.get(number, f"type {number}")
    shape, strides = _numbers(meta["sizes"]), _numbers(meta["strides"])
    (offset,) = _numbers([meta["storage_offset"]])
    if len(shape) != len(strides):
        raise ValueError(f"{key} has {len(shape)} sides and {len(strides)} strides")

    def load() -> np.ndarray:
        with _one_line(path):
            return values()

    def values() -> np.ndarray:
        kind = DTYPES.get(dtype)
        if kind is None or kind.kind == "c":
            raise UserError(f"{path}: {key} holds values of {dtype}, which no teacher here has")
        stored = np.frombuffer(read_member(path, members[name]), kind)
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        if 0 in shape:
            return np.zeros(shape, kind)
        if last >= len(stored):
            raise UserError(f"{path} is damaged: it holds fewer values of {key} than {shape} has")
        steps = [step * kind.itemsize for step in strides]
        return np.lib.stride_tricks.as_strided(stored[offset:], shape, steps).copy()

    if name not in members:
        raise UserError(f"{path} is damaged: {name}, with {key}, is missing")
    return Stored(shape, dtype, load)


def _numbers(sizes: Any) -> tuple[int, ...]:
    numbers = tuple(size["as_int"] for size in sizes)
    if any(type(number) is not int or not 0 <= number < 1 << 48 for number in numbers):
        raise ValueError("a shape in it is no shape")
    return numbers
