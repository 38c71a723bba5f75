"""Reads arrays of `.npz` files without running out of memory.

A small file can state, or decompress to, more bytes than the machine has memory.
"""

import math
import re
from pathlib import Path

import numpy as np

_MEMORY = Path("/proc/meminfo")


def read(arrays: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    """Reads an array if there is enough memory for it.

    Args:
        arrays: an open `.npz` file.
        name: name of the array in the file.

    Raises:
        ValueError: the header of the array states more bytes than the file holds, or than are free
            in memory.
        Exception: an error of any other kind, from NumPy, if the file is damaged.
    """
    size = _size(arrays, name)
    if size > (free := _free_memory()):
        raise ValueError(
            f"{name} takes {size / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB of it are free"
        )
    return arrays[name]


def header(arrays: np.lib.npyio.NpzFile, member: str) -> tuple[tuple[int, ...], np.dtype]:
    """Reads the shape and the type of an array from its header.

    Args:
        arrays: an open `.npz` file.
        member: name of the array's file in the archive, e.g. `images.npy`.
    """
    archive = arrays.zip
    assert archive is not None  # because the file is open
    with archive.open(member) as opened:
        read_header = np.lib.format.read_array_header_2_0
        if np.lib.format.read_magic(opened) == (1, 0):
            read_header = np.lib.format.read_array_header_1_0
        shape, _, dtype = read_header(opened)
    return shape, dtype


def _size(arrays: np.lib.npyio.NpzFile, name: str) -> int:
    """Returns the number of bytes that an array takes in memory."""
    member = f"{name}.npy"
    shape, dtype = header(arrays, member)
    size = math.prod(shape) * dtype.itemsize
    archive = arrays.zip
    assert archive is not None
    if size > archive.getinfo(member).file_size and not dtype.hasobject:  # not a pickle
        raise ValueError(f"{name} {dtype} {list(shape)} is larger than what it holds")
    return size


def _free_memory() -> float:
    """Returns the bytes of memory that are still available; infinity if the system cannot say."""
    try:
        found = re.search(r"^MemAvailable:\s*(\d+) kB", _MEMORY.read_text(), re.MULTILINE)
    except OSError:
        found = None
    return 1024 * int(found[1]) if found else math.inf
