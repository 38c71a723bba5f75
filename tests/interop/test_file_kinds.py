"""Files that are no checkpoints are called by their name, each in one line."""

import gzip
import io
import lzma
import re
import tarfile
import zipfile

import numpy as np
import pytest
import torch

from datafree_nas.interop import torch_file
from datafree_nas.runtime.errors import UserError


def _saved(content, **options):
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def _written(write):
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def _tar(buffer):
    with tarfile.open(fileobj=buffer, mode="w") as file:
        file.addfile(tarfile.TarInfo("resnet20.pth"))


def _zip(*names):
    def write(buffer):
        with zipfile.ZipFile(buffer, "w") as file:
            for name in names:
                file.writestr(name, b"")

    return _written(write)


def _compressed(buffer):
    with (
        zipfile.ZipFile(io.BytesIO(_saved({"a": torch.zeros(1000)}))) as source,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file,
    ):
        for name in source.namelist():
            file.writestr(name, source.read(name))


NETWORK = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.BatchNorm2d(1))
SCRIPT = torch.jit.trace(NETWORK.eval(), torch.ones(1, 1, 2, 2))
FILES = {
    "whole.pt": (_saved(NETWORK), r"whole pickled network \(all of it .* torch.nn.modules.contain"),
    "old.pt": (_saved(NETWORK, _use_new_zipfile_serialization=False), "whole pickled network"),
    "in_dict.pt": (
        _saved({"net": NETWORK, "optimizer": {"state": {0: {"exp_avg": torch.ones(1)}}}}),
        r"whole pickled network \(net is an object of torch",
    ),
    "script.pt": (_written(lambda file: torch.jit.save(SCRIPT, file)), "a TorchScript archive"),
    "compressed.pt": (_written(_compressed), "is compressed, which torch.save never does"),
    "net.onnx": (b"\x08\x07\x12\x07pytorch" * 9, "an ONNX graph"),
    "net.h5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "an HDF5 file"),
    "net.keras": (_zip("config.json", "model.weights.h5"), "a Keras model"),
    "net.pt2": (_zip("net/archive_format", "net/models/model.json"), "an archive of torch.export"),
    "net.tflite": (b"\x1c\0\0\0TFL3" + bytes(100), "a TensorFlow Lite model"),
    "net.gguf": (b"GGUF" + bytes(100), "a GGUF file"),
    "a.npz": (_written(lambda file: np.savez(file, a=1)), "a NumPy archive"),
    "a.npy": (_written(lambda file: np.save(file, 1)), "a NumPy array"),
    "a.tar": (_written(_tar), "a tar archive; unpack it"),
    "a.pth.tar": (_written(_tar), "a tar archive; unpack it"),
    "a.gz": (gzip.compress(_saved({})), "compressed by gzip; unpack it"),
    "a.xz": (lzma.compress(_saved({})), "compressed by xz; unpack it"),
    "a.zip": (_zip("teachers/resnet20.pth", "readme.txt"), "a zip archive without a checkpoint"),
    "page.pth": (b"<!DOCTYPE html><html>", "a web page"),
    "lfs.pth": (b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of Git LFS"),
    "list.pth": (_saved([torch.ones(1)]), "holds no tensors"),
    "object.pth": (_saved(torch.optim.SGD([torch.ones(1)], 0.1)), r"object of torch.optim.sgd.SGD"),
}


@pytest.mark.parametrize("name", FILES)
def test_in_one_line(name, tmp_path):
    content, message = FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as raised:
        torch_file.read(tmp_path / name)
    assert re.search(r"\n|\x1b|weights_only|torch\.load|safe_globals", str(raised.value)) is None


def test_a_folder(tmp_path):
    with pytest.raises(UserError, match="is a folder; name the checkpoint in it"):
        torch_file.read(str(tmp_path))
