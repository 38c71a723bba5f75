"""What a pickle holds is read as data; nothing that it names is imported or called."""

import argparse
import collections
import contextlib
import datetime
import enum
import io
import pathlib
import pickle
import pickletools
import re
import sys
import types

import numpy as np
import pytest
import torch

from datafree_nas.interop import pickle_data
from datafree_nas.interop.pickle_data import Object

SCRIPT = """
import enum, pathlib
pathlib.Path({touched!r}).touch()  # whoever imports the script is found out

class Config:
    def __init__(self):
        self.width = 3

class Attributes(dict):
    pass

class Color(enum.Enum):
    RED = 1

class Slotted:
    __slots__ = ("a",)
    def __init__(self):
        self.a = 1

class Builds:
    def __reduce__(self):
        return Builds, (), {{"a": 1}}
"""


def _read(value, protocol=2):
    return pickle_data.load(io.BytesIO(pickle.dumps(value, protocol)))


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_come_as_they_are(protocol):
    value = {
        "numbers": [0, 1, 255, 65536, -1, 1 << 40, -(1 << 700), 1.5, float("inf"), True, False],
        "text": ["", "ü", "x" * 300, None],
        "nested": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, [4, {"a": {}}])),
    }
    assert _read(value, protocol) == value
    assert _read(b"\0\xff", max(protocol, 3)) == b"\0\xff"


def test_shared_and_circular_data():
    inner = [1]
    assert (found := _read([inner, inner]))[0] is found[1]
    circular = {"a": 1}
    circular["self"] = circular
    assert (found := _read(circular))["self"] is found


def test_keys_are_text():
    found = _read({1: "a", None: "b", (1, 2): "c", collections.OrderedDict: "d"})
    assert [getattr(key, "name", key) for key in found] == [
        *("1", "None", "tuple", "collections.OrderedDict"),
    ]


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize(
    ("value", "name"),
    [
        (np.float64(1), r"numpy\._core\.multiarray\.scalar"),
        (np.eye(3), r"numpy\.\w+\.\w+\._(reconstruct|frombuffer)"),
        (np.array(["a", None], object), r"numpy\.\w+\.\w+\._reconstruct"),
        (pathlib.Path("/data"), r"pathlib\.PosixPath"),
        (pathlib.PureWindowsPath("c:/data"), r"pathlib\.PureWindowsPath"),
        (datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC), r"datetime\.datetime"),
        (datetime.timedelta(3), r"datetime\.timedelta"),
        (collections.Counter("aab"), r"collections\.Counter"),
        (collections.deque([1, 2]), r"collections\.deque"),
        ({1, 2}, r"(builtins|__builtin__)\.set"),
        (frozenset([1, 2]), r"(builtins|__builtin__)\.frozenset"),
        (1 + 2j, r"(builtins|__builtin__)\.complex"),
        (argparse.Namespace(lr=0.1), r"argparse\.Namespace"),
        (types.SimpleNamespace(lr=0.1), r"types\.SimpleNamespace"),
        (torch.float16, "torch.float16"),
        (torch.device("cpu"), r"torch\.device"),
        (torch.Size([3]), r"torch\.Size"),
        (enum.Enum("Color", "RED", module="tests.interop.test_pickle_data").RED, r".*Color"),
        (torch.optim.SGD([torch.ones(1)], 0.1), r"torch\.optim\.sgd\.SGD"),
        (torch.optim.SGD, r"torch\.optim\.sgd\.SGD"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_would_be_made_by_a_call_is_only_noted(value, name, protocol, monkeypatch):
    monkeypatch.setitem(globals(), "Color", type(value))
    try:
        content = pickle.dumps([value], protocol)
    except (TypeError, pickle.PicklingError):
        pytest.skip(f"{type(value).__name__} has no such pickle")
    (found,) = pickle_data.load(io.BytesIO(content))
    assert re.fullmatch(name, getattr(found, "name", found))


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("kind", ["Config", "Attributes", "Color", "Slotted", "Builds"])
def test_classes_of_a_script_are_not_imported(kind, protocol, tmp_path, monkeypatch):
    touched = tmp_path / "touched"
    (tmp_path / "a_script.py").write_text(SCRIPT.format(touched=str(touched)))
    monkeypatch.syspath_prepend(tmp_path)
    import a_script

    value = a_script.Color.RED if kind == "Color" else getattr(a_script, kind)()
    if kind == "Attributes":
        value["lr"] = 0.1
    content = pickle.dumps({"hyper_parameters": value, a_script.Config: [value]}, protocol)
    del sys.modules["a_script"]
    touched.unlink()
    found = pickle_data.load(io.BytesIO(content))["hyper_parameters"]
    assert isinstance(found, Object)
    if kind == "Attributes":
        assert found.items == {"lr": 0.1}
    assert not touched.exists()
    assert "a_script" not in sys.modules


class _Calls:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_nothing_is_called(protocol, tmp_path):
    touched = tmp_path / "touched"
    for value in (
        _Calls(pathlib.Path.touch, touched),
        _Calls(open, str(touched), "w"),
        _Calls(getattr, _Calls(__import__, "os"), "system"),
        _Calls(exec, f"open({str(touched)!r}, 'w')"),
    ):
        with contextlib.suppress(ValueError):  # where it names a command, see below
            pickle_data.load(io.BytesIO(pickle.dumps(value, protocol)))
    assert not touched.exists()


def test_commands_are_told_of():
    with pytest.raises(ValueError, match=r"a hostile file: PyTorch would call builtins\.exec"):
        _read(_Calls(exec, "1"), 4)


def test_every_instruction_is_known_or_refused():
    ends = {"EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER", "PERSID"}
    for opcode in pickletools.opcodes:
        value = opcode.arg is not None and not opcode.stack_before
        assert opcode.name in pickle_data._STEPS or value or opcode.name in ends


@pytest.mark.parametrize(
    "content", [b"", b".", b"(.", b"0.", b"\x85.", b"}a.", b"s.", b"h\0.", b"Q."]
)
def test_a_stack_that_is_empty(content):
    with pytest.raises((ValueError, IndexError, KeyError)):
        pickle_data.load(io.BytesIO(content))


def test_bytes_at_random():
    """Whatever they are, nothing but an exception or data comes of them."""
    generator = np.random.default_rng(0)
    codes = np.frombuffer(
        b"".join(op.code.encode("latin1") for op in pickletools.opcodes), np.uint8
    )
    for _ in range(3000):
        content = generator.choice(codes, generator.integers(1, 40)).tobytes() + b"."
        with contextlib.suppress(ValueError, IndexError, KeyError, TypeError, AttributeError):
            pickle_data.load(io.BytesIO(content))
