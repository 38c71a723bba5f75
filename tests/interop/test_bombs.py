"""Small checkpoints that would fill the memory: refused in one line, and in little memory."""

import io
import json
import re
import resource
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from datafree_nas.interop import torch_archive, torch_file
from datafree_nas.interop.pickle_data import Object
from datafree_nas.runtime.errors import UserError
from tests.tiers import full

ROOT = Path(__file__).parents[2]
MEGABYTES = 4
BYTES = MEGABYTES << 20
MOST = 200  # megabytes that reading one may take


def _zipped(pickle, compression=zipfile.ZIP_STORED, **storages):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        file.writestr("a/data.pkl", pickle)
        for name, content in storages.items():
            file.writestr(f"a/data/{name}", content)
    return buffer.getvalue()


def _repeated(instructions, before=b""):
    return _zipped(b"\x80\x04" + before + instructions * (BYTES // len(instructions)) + b".")


def _doubled(place, last):
    """Joins a name to itself, or makes a pair of a tuple and itself, again and again."""
    return b"".join(b"h" + bytes([i]) + b"h" + bytes([i]) + last for i in range(place, place + 40))


def _safetensors(tensors):
    """A header of many tensors without numbers."""
    entry = {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
    text = json.dumps({str(i): entry for i in range(tensors)}, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text


def _members(count):
    """The end of a zip archive, which lists members that are not there."""
    entry = struct.pack("<I16x4x4xH16x", 0x02014B50, 4)
    listed = b"".join(entry + b"%04x" % (i % 65536) for i in range(count))
    most = min(count, 65535)
    return listed + struct.pack("<I4xHHIIH", 0x06054B50, most, most, len(listed), 0, 0)


NAME = b"\x8c\x01a\x94\x8c\x01a\x93\x94"  # a.a, in place 1
TWICE = _doubled(0, b"\x86\x94")
STORAGE = b"(\x8c\x07storageh" + bytes([40]) + b"\x8c\x010\x8c\x03cpuK\x01tQ"
BOMBS = {
    "sets": (_repeated(b"\x8f"), "more than 1000000 instructions"),
    "lists": (_repeated(b"]\x94"), "more than 1000000 instructions"),
    "dicts": (_repeated(b"}(NN\x75"), "more than 1000000 instructions"),
    "calls": (_repeated(b"h\x01)R", NAME), "more than 1000000 instructions"),
    "frozen": (_repeated(b"(\x91"), "more than 1000000 instructions"),
    "names": (_zipped(b"\x80\x04" + NAME + _doubled(1, b"\x93\x94") + b"."), "500 characters"),
    "no_names": (_zipped(b"\x80\x04)\x94" + TWICE + b"h\x28h\x28\x93."), "a name .* is no name"),
    "storage": (_zipped(b"\x80\x04)\x94" + TWICE + STORAGE + b"."), "is not a whole storage"),
    "compressed": (_zipped(bytes(1 << 28), zipfile.ZIP_DEFLATED), "is compressed"),
    "claims": (b"\x80\x02\x8d" + struct.pack("<Q", 1 << 34) + b"a.", "truncated"),
    "header.safetensors": (struct.pack("<Q", 1 << 34) + b"{}", "not a readable safetensors file"),
    "empty.safetensors": (_safetensors(60_000), "more than 50000 tensors"),
    "members": (_members(80_000), "a zip archive without a checkpoint"),
}


def _write(folder, name):
    path = folder / (f"{name}.safetensors" if name == "header" else f"{name}.pth")
    path.write_bytes(BOMBS[name][0])
    assert path.stat().st_size < BYTES + 1000
    return path


QUICK = {"names", "sets"}  # these of them are tested by the fast tier
READ = """
import resource, sys
from datafree_nas.interop import torch_file
from datafree_nas.runtime.errors import UserError

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    torch_file.read(sys.argv[1])
except UserError as error:
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
    print(error)
"""


def _limit():
    """So that a failure of the test is none of the machine."""
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))


@pytest.mark.parametrize("name", [*sorted(QUICK), *full(*sorted(BOMBS.keys() - QUICK))])
def test_refused_in_one_line_and_in_little_memory(name, tmp_path):
    content, message = BOMBS[name]
    path = tmp_path / (name if name.endswith(".safetensors") else f"{name}.pth")
    path.write_bytes(content)
    assert path.stat().st_size < BYTES + 1000
    command = [sys.executable, "-c", READ, path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, preexec_fn=_limit)
    megabytes, line = done.stdout.splitlines()
    assert re.search(message, line)
    assert int(megabytes) < MOST


def test_pairs_that_many_dicts_share_are_entered_once():
    """Else a thousand dicts of the same thousand pairs would be a million entries."""
    pairs = [["a", 1], ["b", 2]]
    tree = {str(i): Object("collections.OrderedDict", (pairs,)) for i in range(5)}
    assert [*torch_file._leaves(tree)] == [("0", "a", 1), ("0", "b", 2)]


def test_wrappers_without_end():
    wrapped = Object("torch._utils._rebuild_parameter", (None,))
    for _ in range(20):
        wrapped = Object("torch._utils._rebuild_parameter", (wrapped,))
    archive = torch_archive.Archive(None, {}, lambda key: b"")
    assert torch_archive.tensor(wrapped, archive) is None


def test_names_of_many_keys(tmp_path):
    tree = torch.ones(1)
    for _ in range(10):
        tree = {"a" * 150: tree}
    torch.save(tree, tmp_path / "a.pth")
    with pytest.raises(UserError, match="a name in it has more than 1000 characters"):
        torch_file.read(tmp_path / "a.pth")


def test_sizes_of_a_thousand_digits(tmp_path):
    """Numbers that Python does not print, in a shape that does not fit."""
    long = b"\x8a\xff" + b"\x7f" * 255
    shape = long + b"\x85"
    pickle = (
        b"\x80\x02}(X\1\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\7\0\0\0storage"
        b"ctorch\nFloatStorage\nX\1\0\0\0000X\3\0\0\0cpuK\1tQK\0" + shape + shape + b"\x89NtRu."
    )
    (tmp_path / "a.pth").write_bytes(_zipped(pickle, **{"0": bytes(4)}))
    with pytest.raises(UserError, match="a shape in it is no shape"):
        torch_file.read(tmp_path / "a.pth")
