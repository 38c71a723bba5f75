import argparse

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from datafree_nas.interop import torch_file
from datafree_nas.runtime.errors import UserError

WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", ["a.pth", "a.pt", "a.th", "a.safetensors", "old.pth"])
def test_values_come_as_float32(name, kind, tmp_path):
    tensors = {"a.weight": torch.from_numpy(WEIGHT).to(kind), "a.steps": torch.tensor(7)}
    if name.endswith("safetensors"):
        safetensors.torch.save_file(tensors, tmp_path / name)
    else:
        zipped = name != "old.pth"  # as PyTorch wrote before 1.6
        torch.save(tensors, tmp_path / name, _use_new_zipfile_serialization=zipped)
    found = torch_file.read(tmp_path / name)
    assert found.keys() == tensors.keys()
    assert found["a.weight"].shape == (2, 3)
    value = found["a.weight"].load()
    assert value.dtype == np.float32
    np.testing.assert_array_equal(value, WEIGHT)


def test_nested_tensors_have_dotted_names(tmp_path):
    inner = {"conv.weight": torch.ones(1), "bn": {"bias": torch.ones(2)}}
    whole = {"state_dict": inner, "epoch": 3, "lr": [torch.ones(1)], 0: {1: torch.ones(3)}}
    torch.save(whole, tmp_path / "a.pth")
    found = torch_file.read(tmp_path / "a.pth")
    assert {key: tensor.shape for key, tensor in found.items()} == {
        "state_dict.conv.weight": (1,),
        "state_dict.bn.bias": (2,),
        "0.1": (3,),
    }


def test_what_training_scripts_save_besides(tmp_path):
    beside = {"args": argparse.Namespace(lr=0.1), "best": np.float64(76.1), "step": np.int64(3)}
    torch.save({"model": {"a": torch.ones(1)}, **beside}, tmp_path / "a.pth")
    assert torch_file.read(tmp_path / "a.pth").keys() == {"model.a"}


def test_a_dictionary_that_holds_itself(tmp_path):
    tree = {"a": torch.ones(1)}
    tree["b"] = tree
    torch.save(tree, tmp_path / "a.pth")
    assert torch_file.read(tmp_path / "a.pth").keys() == {"a"}


@pytest.mark.parametrize("content", [{}, {"state_dict": {}}, [torch.ones(1)], 7])
def test_a_checkpoint_without_tensors(content, tmp_path):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"a\.pth holds no tensors; save the model's state_dict"):
        torch_file.read(tmp_path / "a.pth")


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 torn", b"\x80\x02}q\x00."])
@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_files_that_are_no_checkpoint(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=name) as raised:
        torch_file.read(tmp_path / name)
    assert "\n" not in str(raised.value)


def test_no_such_file(tmp_path):
    with pytest.raises(UserError, match="no checkpoint at"):
        torch_file.read(tmp_path / "a.pth")


def test_what_is_written_pytorch_reads(tmp_path):
    torch_file.write(tmp_path / "a.safetensors", {"a.weight": WEIGHT}, {"arch": "x"})
    found = safetensors.torch.load_file(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(found["a.weight"], WEIGHT)
    with safetensors.safe_open(tmp_path / "a.safetensors", "numpy") as file:
        assert file.metadata() == {"format": "pt", "arch": "x"}
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_reading_needs_no_pytorch(tmp_path, monkeypatch):
    arrays = {"a.weight": WEIGHT.astype(ml_dtypes.bfloat16)}
    safetensors.numpy.save_file(arrays, tmp_path / "a.safetensors")
    torch.save({"a.weight": torch.from_numpy(WEIGHT)}, tmp_path / "a.pth")
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    for name in ("a.safetensors", "a.pth"):
        found = torch_file.read(tmp_path / name)
        np.testing.assert_array_equal(found["a.weight"].load(), WEIGHT)


def test_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert torch_file.sha256(tmp_path / "a").startswith("ba7816bf8f01cfea")
