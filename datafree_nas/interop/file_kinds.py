"""Recognizes files that hold no checkpoint, and says what they are and what to do instead."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

_FROM_CODE = "load the network with its own code and save torch.save(net.state_dict(), FILE)"
_UNPACK = "unpack it and port the checkpoint in it"

# offset, bytes at this offset, what such a file is, what to do
_SIGNATURES: Sequence[tuple[int, bytes, str, str]] = (
    (0, b"\x89HDF", "an HDF5 file, as Keras writes", "port a PyTorch checkpoint"),
    (0, b"\x93NUMPY", "a NumPy array", "port a PyTorch checkpoint"),
    (0, b"GGUF", "a GGUF file", "port a PyTorch checkpoint"),
    (4, b"TFL3", "a TensorFlow Lite model", "port a PyTorch checkpoint"),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, b"\x1f\x8b", "compressed by gzip", _UNPACK),
    (0, b"BZh", "compressed by bzip2", _UNPACK),
    (0, b"\xfd7zXZ", "compressed by xz", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "compressed by zstd", _UNPACK),
    (0, b"7z\xbc\xaf", "a 7-Zip archive", _UNPACK),
    (0, b"Rar!", "a RAR archive", _UNPACK),
    (0, b"version https://git-lfs", "a pointer of Git LFS", "get the file itself: git lfs pull"),
    (0, b"<", "a web page, not what it links to", "download the file itself"),
)


def foreign(path: Path) -> str:
    """Says what a file is and what to do with it, if files of its kind hold no checkpoint.

    Args:
        path: path of the file.

    Returns:
        Text that continues a sentence after "is"; empty if the file may be a checkpoint.
    """
    with path.open("rb") as file:
        start = file.read(512)
    for offset, signature, what, advice in _SIGNATURES:
        if start[offset:].startswith(signature):
            return f"{what}; {advice}"
    if path.suffix == ".onnx":
        return f"an ONNX graph, whose BatchNorm is often folded away; {_FROM_CODE}, then port FILE"
    if start.startswith(b"PK"):
        return _archive(path)
    return ""


def _archive(path: Path) -> str:
    """Says what a zip archive is and what to do with it, by the names of its members."""
    try:
        with zipfile.ZipFile(path) as file:
            names = file.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return ""  # a damaged checkpoint
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner:
        return f"a TorchScript archive, a network with its code; {_FROM_CODE}, then port FILE"
    if "archive_format" in inner | set(names) or "serialized_exported_program.json" in names:
        return (
            "an archive of torch.export, a network with its graph: python -m "
            "datafree_nas.port_torch --model=FILE --mean=... --std=... --out=DIR"
        )
    if "data.pkl" in inner:
        return ""
    if any(name.endswith(".npy") for name in names):
        return "a NumPy archive; port a PyTorch checkpoint"
    if "model.weights.h5" in names:
        return "a Keras model; port a PyTorch checkpoint"
    return f"a zip archive without a checkpoint of torch.save at its top; {_UNPACK}"
