"""A teacher's graph on disk: read back without PyTorch, and one line if it was changed."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import torch
from torch import nn

from datafree_nas import teachers
from datafree_nas.runtime.errors import UserError
from datafree_nas.teachers import store

ROOT = Path(__file__).parents[3]
WITHOUT_TORCH = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision"):
            raise ImportError("PyTorch is not there")

sys.meta_path.insert(0, Blocked())
import numpy as np
from datafree_nas import teachers
from datafree_nas.teachers.teacher import logits_fn

teacher, variables = teachers.load(sys.argv[1])
images = np.load(sys.argv[2])
np.save(sys.argv[3], logits_fn(teacher)(variables, images))
assert "torch" not in sys.modules
"""


class _Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.slope = nn.Parameter(torch.rand(4, 1, 1))

    def forward(self, x):
        return torch.relu(x + self.norm(self.conv(x)) * self.slope)


@pytest.fixture(scope="module")
def module():
    torch.manual_seed(0)
    parts = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(True), _Residual()
    net = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            for value in (part.weight, part.bias, part.running_mean, part.running_var):
                value.data.uniform_(0.5, 1.5)
    return net.eval()


@pytest.fixture(scope="module")
def made(module):
    return teachers.from_torch(
        module, image_size=(8, 8, 3), mean=(0.5,) * 3, std=(0.2,) * 3, name="small"
    )


@pytest.fixture(scope="module")
def saved(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("graph") / "teacher"
    teachers.save(folder, *made, {"model": "small"})
    return folder


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(size=(5, 8, 8, 3)).astype(np.float32)


@pytest.fixture
def file(saved):
    """The file of the graph, which is as before after the test."""
    file = saved / "graph.json"
    before = file.read_bytes()
    yield file
    file.write_bytes(before)


def _refusal(folder):
    with pytest.raises(UserError) as raised:
        teachers.load(folder)
    line = str(raised.value)
    assert line.isprintable()
    assert str(folder / "graph.json") in line
    assert len(line) < 1500
    return line


def test_a_teacher_is_loaded_without_pytorch(saved, module, images, tmp_path):
    np.save(tmp_path / "images.npy", images)
    places = saved, tmp_path / "images.npy", tmp_path / "logits.npy"
    command = [sys.executable, "-c", WITHOUT_TORCH, *places]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with torch.no_grad():
        wanted = module(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()
    found = np.load(tmp_path / "logits.npy")
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


def test_the_description_is_as_it_was(saved, made):
    teacher, variables = teachers.load(saved)
    assert teacher.model == made[0].model
    assert teacher.num_classes == 5
    assert (teacher.arch, teacher.mean, teacher.image_size) == ("small", (0.5,) * 3, (8, 8, 3))
    for found, wanted in zip(jax.tree.leaves(variables), jax.tree.leaves(made[1]), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_missing_graph_is_refused(saved, file):
    file.unlink()
    assert "is missing; restore it, or port the teacher again" in _refusal(saved)


def _changed(change):
    def make(text):
        content = json.loads(text)
        change(content)
        return json.dumps(content)

    return make


def _first(content):
    return content["graph"]["nodes"][0]


CHANGES = {
    "stride": _changed(lambda c: _first(c)["arguments"].update(stride=[2, 2])),
    "logits": _changed(lambda c: c["graph"].update(logits=c["graph"]["nodes"][-2]["outputs"][0])),
    "unknown": _changed(lambda c: _first(c).update(op="evil\nop.default")),
    "argument": _changed(lambda c: _first(c)["arguments"].update(evil=1)),
    "version": _changed(lambda c: c.update(version=2)),
    "long_version": _changed(lambda c: c.update(version="2\n" * 10_000)),
    "no_version": _changed(lambda c: c.pop("version")),
    "no_graph": _changed(lambda c: c.pop("graph")),
    "graph_of_list": _changed(lambda c: c.update(graph=[1])),
    "sizes": _changed(lambda c: c.update(at_sizes=7)),
    "size": _changed(lambda c: c.update(at_sizes=[{"height": "a", "width": 4, "graph": {}}])),
    "infinite": _changed(
        lambda c: c.update(at_sizes=[{"height": 1e999, "width": 4, "graph": c["graph"]}])
    ),
    "nodes": _changed(lambda c: c["graph"]["nodes"].reverse()),
    "no_arguments": _changed(lambda c: _first(c).update(arguments=[])),
    "no_value": _changed(lambda c: _first(c)["arguments"].update(stride={"\na": 1})),
    "two_values": _changed(lambda c: _first(c)["arguments"].update(x={"value": "a", "float": 1})),
    "empty_value": _changed(lambda c: _first(c)["arguments"].update(x={})),
    "no_float": _changed(lambda c: _first(c)["arguments"].update(x={"float": "abc\n"})),
    "list_float": _changed(lambda c: _first(c)["arguments"].update(x={"float": []})),
    "long_float": _changed(lambda c: _first(c)["arguments"].update(x={"float": 10**400})),
    "key": _changed(lambda c: c["graph"]["parameters"][0].update(key=3)),
    "kind": _changed(lambda c: c["graph"]["parameters"][0].update(kind=["weight"])),
    "dtype": _changed(lambda c: c["graph"]["parameters"][0].update(dtype="object")),
    "shape": _changed(lambda c: c["graph"]["parameters"][0].update(shape=[-1, 2.5])),
    "no_shape": _changed(lambda c: c["graph"]["parameters"][0].update(shape=4)),
    "no_bytes": lambda _: "",
    "a_list": lambda _: "[]",
    "a_number": lambda _: "1",
    "deep": lambda _: "[" * 100_000,
    "deep_value": lambda text: text.replace('"stride": ', f'"a": {"[" * 900}{"]" * 900}, "b": ', 1),
    "half": lambda text: text[: len(text) // 2],
    "no_text": lambda _: b"\xff\xfe\x80",
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_graph_is_refused(name, saved, file):
    content = CHANGES[name](file.read_text())
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    _refusal(saved)


def test_a_small_change_by_hand_is_noticed(saved, file):
    file.write_text(CHANGES["logits"](file.read_text()))
    assert "has been changed since it was written; port the teacher again" in _refusal(saved)


def test_unknown_operations_are_named(saved, file):
    file.write_text(file.read_text().replace('"conv2d.default"', '"conv9d"'))
    assert "uses operations that are not known here: conv9d" in _refusal(saved)


def test_flipped_bits_are_refused(saved, file):
    content, generator = file.read_bytes(), np.random.default_rng(0)
    for _ in range(40):
        damaged = bytearray(content)
        damaged[generator.integers(len(damaged))] ^= 1 << generator.integers(8)
        file.write_bytes(damaged)
        try:
            teachers.load(saved)
            refusal = ""
        except UserError as error:
            refusal = str(error)
        assert refusal.isprintable()
        if not refusal:  # it was white space
            assert json.loads(bytes(damaged)) == json.loads(content)


def test_another_teacher_in_its_place_leaves_no_graph(made, tiny_teacher, tmp_path):
    teachers.save(tmp_path, *made, {})
    assert (tmp_path / "graph.json").exists()
    store.replace(tmp_path, *tiny_teacher, {})
    assert not (tmp_path / "graph.json").exists()
    assert teachers.load(tmp_path)[0].arch == "cifar_resnet8"
    store.replace(tmp_path, *made, {})
    assert teachers.load(tmp_path)[0].arch == "small"


def test_exported_weights_load_into_the_module(made, module, tmp_path):
    from safetensors.torch import load_file

    teachers.export(tmp_path / "a.safetensors", *made)
    state = load_file(tmp_path / "a.safetensors")
    wanted = module.state_dict()
    for key, value in wanted.items():
        if key.endswith("num_batches_tracked"):
            state[key] = value
    module.load_state_dict(state, strict=True)
    for key, value in wanted.items():
        assert torch.equal(state[key], value), key
