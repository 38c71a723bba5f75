"""Damaged and hostile checkpoints: one clear line or a sound teacher, and nothing else."""

import io
import json
import os
import pickle
import struct
import zipfile

import jax
import numpy as np
import pytest
import safetensors.torch
import torch

from datafree_nas import teachers
from datafree_nas.runtime.errors import UserError, exit_cleanly
from datafree_nas.teachers import port
from tests.teachers import originals
from tests.tiers import full

ARCH = "cifar_resnet8"
STATE = originals.randomize(originals.build(ARCH, (32, 32), 10)).state_dict()


def _zipped(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _old(content):
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


FORMATS = {
    "a.pth": _zipped(STATE),
    "old.th": _old(STATE),
    "a.safetensors": safetensors.torch.save(STATE),
}
PLACES = 60  # of each format


def _port(path):
    """Ports it or says in one line why not; whether it did."""
    refusal = None
    try:
        teacher, variables, _ = port.port(ARCH, path)
    except UserError as error:
        refusal = str(error)
    if refusal is not None:
        assert "\n" not in refusal
        return False
    shapes = jax.tree.map(lambda leaf: leaf.shape, port.shapes(teacher))
    assert jax.tree.map(np.shape, variables) == shapes
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(variables))
    return True


@pytest.mark.parametrize("name", FORMATS)
def test_truncated(name, tmp_path):
    content, path = FORMATS[name], tmp_path / name
    path.write_bytes(content)
    assert _port(path)
    for length in np.random.default_rng(0).integers(len(content), size=PLACES):
        path.write_bytes(content[:length])
        assert not _port(path)


def _telling(name):
    """Where the bytes are that are no numbers: names, shapes, places."""
    content = FORMATS[name]
    if name == "a.safetensors":
        return range(8 + struct.unpack("<Q", content[:8])[0])
    if name == "old.th":
        return range(content.index(b"linear.bias") + 500)
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        pickled = next(info for info in file.infolist() if info.filename.endswith("data.pkl"))
        first = [*range(pickled.header_offset, pickled.header_offset + pickled.file_size)]
        return [*first, *range(file.start_dir, len(content))]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("flips", [1, *full(8)])
def test_flipped_bits(flips, name, tmp_path):
    path, generator = tmp_path / name, np.random.default_rng(flips)
    telling = np.array(_telling(name))
    refused = 0
    for number in range(PLACES):
        damaged = bytearray(FORMATS[name])
        anywhere = number % 5 == 0
        places = np.arange(len(damaged)) if anywhere else telling
        for place in generator.choice(places, flips):
            damaged[place] ^= 1 << generator.integers(8)
        path.write_bytes(damaged)
        refused += not _port(path)
    assert refused > PLACES // 4


class _System:
    """Unpickled, it would run a command."""

    def __init__(self, path):
        self.command = f"touch {path}"

    def __reduce__(self):
        return os.system, (self.command,)


def _deep(depth):
    tree = torch.ones(1)
    for _ in range(depth):
        tree = {"a": tree}
    return tree


def _safetensors(header, data=b"\0" * 64):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def _zip_of(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return buffer.getvalue()


def _hostile(touched):
    system = _System(touched)
    return {
        "in_dict.pth": _zipped({"state_dict": STATE, "extra": system}),
        "as_key.pth": _zipped({"a": [(system,)]}),
        "old.th": _old({"state_dict": STATE, "extra": system}),
        "bare.pth": pickle.dumps(system),
        "protocol0.pt": f"cos\nsystem\n(S'touch {touched}'\ntR.".encode(),
        "zip.pth": _zip_of({"archive/data.pkl": pickle.dumps(system), "archive/version": "3"}),
        "outside.pth": _zip_of({"../../data.pkl": b"\x80\x02}q\x00.", "/etc/version": "3"}),
        "deep.pth": _zipped(_deep(400)),
        "numbers.pth": _zipped(dict.fromkeys(STATE, 7)),
        "long_header.safetensors": struct.pack("<Q", 1 << 60) + b"{}",
        "no_json.safetensors": _safetensors(b"{" * 50_000),
        "list.safetensors": _safetensors([1, 2]),
        "outside.safetensors": _safetensors(
            {"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}
        ),
        "overlap.safetensors": _safetensors(
            {k: {"dtype": "F32", "shape": [16], "data_offsets": [0, 64]} for k in ("a", "b")}
        ),
        "negative.safetensors": _safetensors(
            {"a": {"dtype": "F32", "shape": [-4], "data_offsets": [0, 64]}}
        ),
    }


@pytest.mark.parametrize("name", _hostile(""))
def test_hostile(name, tmp_path, capsys):
    """As the program does it: status 2, one line, no file but the checkpoint."""
    touched = tmp_path / "touched"
    path, out = tmp_path / name, tmp_path / "out"
    path.write_bytes(_hostile(touched)[name])
    with pytest.raises(SystemExit) as raised:
        exit_cleanly(lambda: teachers.save(out, *port.port(ARCH, path)))
    assert raised.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == [name]
