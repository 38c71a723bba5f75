import argparse
import zipfile

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from datafree_nas.interop import torch_file
from datafree_nas.interop.pickle_data import Object
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


# what PyTorch writes, and what pretends to be that


TENSORS = {
    "part": torch.arange(24.0).reshape(4, 6)[1:3, ::2],
    "turned": torch.arange(6.0).reshape(2, 3).T,
    "empty": torch.ones(0, 3),
    "scalar": torch.tensor(7),
    "parameter": torch.nn.Parameter(torch.ones(2)),
    "uint16": torch.tensor([1, 65535], dtype=torch.uint16),
    "float8": torch.tensor([1.5, -2.0]).to(torch.float8_e4m3fn),
    "bool": torch.tensor([True, False]),
}
TENSORS["the same"] = TENSORS["part"]


@pytest.mark.parametrize("zipped", [True, False])
def test_views_and_kinds_of_numbers(zipped, tmp_path):
    torch.save(TENSORS, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    found = torch_file.read(tmp_path / "a.pth")
    for name, tensor in TENSORS.items():
        np.testing.assert_array_equal(found[name].load(), tensor.detach().float().numpy())
        assert found[name].shape == tuple(tensor.shape)
        assert found[name].dtype == str(tensor.dtype).removeprefix("torch.")


@pytest.mark.parametrize("old", [b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"])
def test_arrays_of_both_numpys_beside_the_weights(old, tmp_path):
    beside = {"acc": np.float64(91.2), "confusion": np.eye(10), "names": np.array(["a", "b"])}
    torch.save({"state_dict": {"a": torch.ones(2)}, **beside}, tmp_path / "new.pth")
    _changed(tmp_path / "new.pth", tmp_path / "a.pth", b"cnumpy._core.multiarray\n", old)
    assert torch_file.read(tmp_path / "a.pth").keys() == {"state_dict.a"}


def _changed(source, target, before, after, member="data.pkl"):
    """The same archive with other bytes in one member."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content.replace(before, after) if member in name else content)


def test_keys_as_python_2_wrote_them():
    """An OrderedDict was made from pairs then, not filled afterwards."""
    made = Object("collections.OrderedDict", ([["a", 1], ["b", 2]],))
    assert [*torch_file._leaves({"model": made})] == [("model", "a", 1), ("model", "b", 2)]


def test_the_checksum_of_weights(tmp_path):
    torch.save({"a": torch.arange(100.0)}, tmp_path / "a.pth")
    content = (tmp_path / "a.pth").read_bytes()
    weights = torch.arange(100.0).numpy().tobytes()
    (tmp_path / "a.pth").write_bytes(content.replace(weights, weights[:-1] + b"\xff"))
    with pytest.raises(ValueError, match="the checksum of a/data/0 in it differs"):
        torch_file.read(tmp_path / "a.pth")["a"].load()


def test_files_without_checksums(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"a": torch.ones(3)}, tmp_path / "a.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    np.testing.assert_array_equal(torch_file.read(tmp_path / "a.pth")["a"].load(), np.ones(3))


@pytest.mark.parametrize("zipped", [True, False])
def test_more_values_than_the_file_holds(zipped, tmp_path):
    """Repeated by a stride of 0, one number in the file would fill a petabyte."""
    path = tmp_path / "a.pth"
    huge = {"a": torch.zeros(1).expand(1 << 48), "b": torch.zeros(4).expand(5, 4)}
    torch.save(huge, path, _use_new_zipfile_serialization=zipped)
    for tensor in torch_file.read(path).values():
        with pytest.raises(ValueError, match="the file holds fewer values than its shape has"):
            tensor.load()


def test_dicts_in_dicts_that_would_never_end(tmp_path):
    """Each holds the next one twice: a walk over all names would take 2^15 steps."""
    tree = {"a": torch.ones(1)}
    for _ in range(15):
        tree = {"x": tree, "y": tree}
    torch.save(tree, tmp_path / "a.pth")
    assert len(torch_file.read(tmp_path / "a.pth")) == 1


def test_names_fit_for_a_line(tmp_path):
    torch.save({"a\nb\x1b[31m": torch.ones(1), "c" * 5000: torch.ones(1)}, tmp_path / "a.pth")
    assert [*torch_file.read(tmp_path / "a.pth")] == ["a\\nb\\x1b[31m", "c" * 200]


def test_a_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.save({"a": torch.ones(1)}, tmp_path / "a.pth")
    assert torch_file.read("~/a.pth").keys() == {"a"}
