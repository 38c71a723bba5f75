import numpy as np
import pytest
import safetensors.numpy
import torch

from datafree_nas import teachers
from datafree_nas.runtime.errors import UserError
from datafree_nas.teachers import store
from datafree_nas.teachers.torch_port import read_state_dict, sha256

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.steps": torch.tensor(7)}
TEACHER = teachers.create("cifar_resnet8")


def _state_dict():
    """A complete one for ResNet-8, of zeros."""
    shapes = {"linear.weight": (10, 64), "linear.bias": (10,)}
    widths = {"1": (16, 16), "2": (16, 32), "3": (32, 64)}
    for key in TEACHER.torch_keys:
        c_in, c_out = widths[key[5]] if key.startswith("layer") else (3, 16)
        if ".conv2." in key:
            c_in = c_out
        if "conv" in key:
            shapes[key] = (c_out, c_in, 3, 3)
        elif "bn" in key:
            shapes[key] = (c_out,)
    return {key: torch.zeros(shape) for key, shape in shapes.items()}


def _port(state_dict, tmp_path):
    torch.save(state_dict, tmp_path / "a.pth")
    return store.port(TEACHER, tmp_path / "a.pth")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda t: t,
        lambda t: {"state_dict": t, "epoch": 3},
        lambda t: {"model": t},
        lambda t: {f"module.{k}": v for k, v in t.items()},
        lambda t: {"state_dict": {"model": {f"module.{k}": v for k, v in t.items()}}},
        lambda t: {k: v.half() for k, v in t.items()},
    ],
    ids=["bare", "state_dict", "model", "module.", "all", "half"],
)
def test_wrappings(wrap, tmp_path):
    torch.save(wrap(TENSORS), tmp_path / "a.pth")
    found = read_state_dict(tmp_path / "a.pth")
    assert found.keys() == TENSORS.keys()
    np.testing.assert_array_equal(found["a.weight"], TENSORS["a.weight"])


def test_safetensors(tmp_path):
    arrays = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3)}
    safetensors.numpy.save_file(arrays, tmp_path / "a.safetensors")
    found = read_state_dict(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(found["a.weight"], arrays["a.weight"])
    (tmp_path / "b.safetensors").write_bytes(b"no such thing")
    with pytest.raises(UserError, match="not a readable safetensors file"):
        read_state_dict(tmp_path / "b.safetensors")


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 torn"])
def test_files_that_are_no_checkpoint(content, tmp_path):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.pth is (damaged|not a plain checkpoint)"):
        read_state_dict(tmp_path / "a.pth")


@pytest.mark.parametrize("value", [{"epoch": 3}, [1, 2], torch.zeros(3)])
def test_files_without_a_state_dict(value, tmp_path):
    torch.save(value, tmp_path / "a.pth")
    with pytest.raises(UserError, match="holds no state dict"):
        read_state_dict(tmp_path / "a.pth")


def test_layouts(tmp_path):
    state_dict = _state_dict()
    state_dict["layer2.0.conv1.weight"][5, 7, 0, 2] = 1.0  # output, input, row, column
    state_dict["linear.weight"][3, 60] = 2.0
    state_dict["bn1.num_batches_tracked"] = torch.tensor(9)
    variables, source = _port(state_dict, tmp_path)
    kernel = variables["params"]["layer2_0"]["conv1"]["kernel"]
    assert np.argwhere(kernel).tolist() == [[0, 2, 7, 5]]
    assert variables["params"]["linear"]["kernel"][60, 3] == 2.0
    assert source == {"file": "a.pth", "sha256": sha256(tmp_path / "a.pth")}


def test_every_problem_is_listed(tmp_path):
    state_dict = _state_dict()
    del state_dict["linear.bias"]
    state_dict["fc.bias"] = torch.zeros(10)
    state_dict["linear.weight"] = torch.zeros(100, 64)
    with pytest.raises(UserError) as error:
        _port(state_dict, tmp_path)
    for part in (
        "does not fit cifar_resnet8",
        "1 missing: linear.bias;",
        "1 unexpected: fc.bias;",
        "1 mis-shaped: linear.weight (64, 100) instead of (64, 10);",
    ):
        assert part in str(error.value)


def test_long_lists_are_cut(tmp_path):
    state_dict = {k: v for k, v in _state_dict().items() if not k.startswith("layer3")}
    with pytest.raises(UserError, match=r"10 missing: layer3\.0\.bn1\.bias, .* and 2 more"):
        _port(state_dict, tmp_path)


def test_a_checkpoint_without_batch_norm(tmp_path):
    state_dict = {k: v for k, v in _state_dict().items() if "running" not in k}
    with pytest.raises(UserError, match="no BatchNorm statistics"):
        _port(state_dict, tmp_path)
