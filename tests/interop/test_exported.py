"""Files of torch.export.save: right values from good ones, one line for all others."""

import io
import json
import os
import pickle
import time
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

from datafree_nas import teachers
from datafree_nas.interop import exported
from datafree_nas.runtime.errors import UserError

PLACES = 40
CONFIG = "archive/data/weights/model_weights_config.json"
MODEL = "archive/models/model.json"
FIRST = "archive/data/weights/weight_0"


class _Network(nn.Module):
    """Tensors of all kinds; the logits depend on each."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 4)
        self.tied = nn.Linear(4, 4, bias=False)
        self.tied.weight = self.fc.weight
        values = torch.randn(40, generator=generator)
        self.register_buffer("part", values[3:7])
        self.register_buffer("strided", values[8:20].reshape(3, 4).t())
        self.register_buffer("steps", values[20:40:5])
        self.register_buffer("expanded", values[:4].reshape(1, 4).expand(3, 4))
        self.register_buffer("half_type", values[:4].half())
        self.register_buffer("brain", values[:4].bfloat16())
        self.register_buffer("whole", torch.tensor([3, 0, 2, 1]))
        self.register_buffer("mask", torch.tensor([True, False, True, True]))
        self.register_buffer("scalar", torch.tensor(1.5))

    def forward(self, x):
        x = self.norm(self.conv(x)).mean((2, 3))
        x = self.tied(self.fc(x))[:, self.whole] * self.mask * self.scalar
        x = x + self.part + self.strided.sum(1) + self.steps + self.expanded.sum(0)
        return x + self.half_type + self.brain


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return _Network().eval()


@pytest.fixture(scope="module")
def content(network):
    images = torch.zeros(2, 3, 8, 8)
    program = torch.export.export(
        network, (images,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)
    )
    file = io.BytesIO()
    torch.export.save(program, file)
    return file.getvalue()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.pt2"


def _members(content):
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return {info.filename: file.read(info) for info in file.infolist()}


def _zip(members, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def _load(path):
    return teachers.from_exported(path, mean=(0.0,) * 3, std=(1.0,) * 3)


def _refusal(path):
    """What is said of a file that is refused."""
    began = time.perf_counter()
    with pytest.raises(UserError) as raised:
        _load(path)
    assert time.perf_counter() - began < 20
    line = str(raised.value)
    assert line.isprintable()
    assert len(line) < 1500
    return line


def _sound(path):
    """Whether the file is read, with tensors of the shapes that it says."""
    refusal = ""
    try:
        program = exported.read(path)
        shapes = {name: stored.load().shape for name, stored in program.tensors.items()}
        teacher, variables = _load(path)
    except UserError as error:
        refusal = str(error)
    assert refusal.isprintable()
    if refusal:
        return False
    assert shapes == {name: stored.shape for name, stored in program.tensors.items()}
    images = jnp.zeros((2, *teacher.image_size))
    logits = jax.eval_shape(teacher.model.apply, variables, images)
    assert logits.shape == (2, teacher.num_classes)
    return True


def test_values_are_those_of_the_state_dict(network, content, path):
    path.write_bytes(content)
    program = exported.read(path)
    for name, wanted in network.state_dict().items():
        stored = program.tensors[name]
        value = stored.load()
        assert stored.dtype == str(wanted.dtype).removeprefix("torch.")
        assert value.shape == stored.shape == tuple(wanted.shape), name
        np.testing.assert_array_equal(value.astype(np.float64), wanted.double().numpy(), name)


def test_logits_are_those_of_the_network(network, content, path):
    path.write_bytes(content)
    teacher, variables = _load(path)
    images = np.random.default_rng(0).normal(size=(5, 8, 8, 3)).astype(np.float32)
    with torch.no_grad():
        wanted = network(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()
    found = teacher.model.apply(variables, jnp.asarray(images))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


def test_truncated_files_are_refused(content, path):
    for length in np.random.default_rng(0).integers(len(content), size=PLACES):
        path.write_bytes(content[:length])
        _refusal(path)


@pytest.mark.parametrize("seed", range(3))
def test_flipped_bits_give_a_sound_network_or_one_line(seed, content, path):
    generator = np.random.default_rng(seed)
    refused = 0
    for _ in range(20):
        damaged = bytearray(content)
        damaged[generator.integers(len(damaged))] ^= 1 << generator.integers(8)
        path.write_bytes(damaged)
        refused += not _sound(path)
    assert refused


@pytest.mark.parametrize("name", [MODEL, CONFIG])
def test_flipped_bits_in_json_whose_checksum_is_right(name, content, path):
    generator = np.random.default_rng(3)
    members = _members(content)
    refused = 0
    for _ in range(30):
        damaged = bytearray(members[name])
        damaged[generator.integers(len(damaged))] ^= 1 << generator.integers(8)
        path.write_bytes(_zip({**members, name: bytes(damaged)}))
        refused += not _sound(path)
    assert refused


class _Touch:
    """Unpickled, it would create a file."""

    def __init__(self, path):
        self.command = f"touch {path}"

    def __reduce__(self):
        return os.system, (self.command,)


def test_sample_inputs_are_never_unpickled(content, path):
    touched = path.with_name("touched")
    hostile = pickle.dumps(_Touch(touched))
    members = _members(content)
    path.write_bytes(_zip({**members, "archive/data/sample_inputs/model.pt": hostile}))
    _load(path)
    config = json.loads(members[CONFIG])
    config["config"]["conv.weight"]["use_pickle"] = True
    path.write_bytes(_zip({**members, FIRST: hostile, CONFIG: json.dumps(config)}))
    assert "could run code" in _refusal(path)
    assert not touched.exists()


def _entry(content, **changes):
    """The archive with another entry of the first weight, or another `tensor_meta` in it."""
    members = _members(content)
    config = json.loads(members[CONFIG])
    entry = config["config"]["conv.weight"]
    for name, value in changes.items():
        (entry if name in entry else entry["tensor_meta"])[name] = value
    return _zip({**members, CONFIG: json.dumps(config)})


def _ints(*numbers):
    return [{"as_int": number} for number in numbers]


ENTRIES = {
    "outside": {"path_name": "../../../../etc/passwd"},
    "absolute": {"path_name": "/etc/passwd"},
    "no_text": {"path_name": 7},
    "several_lines": {"path_name": "a\nb\u2028c"},
    "negative": {"sizes": _ints(-4, 3, 3, 3)},
    "fraction": {"sizes": _ints(4.0, 3, 3, 3)},
    "text": {"sizes": _ints("4", 3, 3, 3)},
    "truth": {"sizes": _ints(True, 3, 3, 3)},
    "large": {"sizes": _ints(1 << 60, 3, 3, 3)},
    "repeated": {"sizes": _ints(1 << 40, 3, 3, 3), "strides": _ints(0, 9, 3, 1)},
    "more": {"sizes": _ints(5, 3, 3, 3)},
    "less": {"sizes": _ints(3, 3, 3, 3)},
    "empty": {"sizes": _ints(0, 1 << 40, 1 << 40, 3)},
    "few": {"sizes": _ints(4, 3, 3)},
    "many": {"sizes": _ints(*[1] * 100), "strides": _ints(*[1] * 100)},
    "no_list": {"sizes": 5},
    "no_object": {"sizes": [4, 3, 3, 3]},
    "none": {"sizes": None},
    "negative_stride": {"strides": _ints(-27, 9, 3, 1)},
    "large_stride": {"strides": _ints(1 << 60, 9, 3, 1)},
    "long_stride": {"strides": _ints(1 << 40, 9, 3, 1)},
    "fraction_stride": {"strides": _ints(27.0, 9, 3, 1)},
    "offset": {"storage_offset": {"as_int": 1}},
    "negative_offset": {"storage_offset": {"as_int": -1}},
    "large_offset": {"storage_offset": {"as_int": 1 << 60}},
    "text_offset": {"storage_offset": {"as_int": "0"}},
    "dtype": {"dtype": 99},
    "complex": {"dtype": 10},
    "wide": {"dtype": 8},
    "text_dtype": {"dtype": "float\n32"},
    "list_dtype": {"dtype": [7]},
    "no_meta": {"tensor_meta": 3},
}


@pytest.mark.parametrize("name", ENTRIES)
def test_entries_that_are_wrong_are_refused(name, content, path):
    path.write_bytes(_entry(content, **ENTRIES[name]))
    _refusal(path)


def _model(**changes):
    return lambda members: json.dumps({**json.loads(members[MODEL]), **changes})


MODELS = {
    "a_list": lambda _: "[1, 2]",
    "a_number": lambda _: "7",
    "nothing": lambda _: "",
    "no_text": lambda _: b"\xff\xfe\x00",
    "deep": lambda _: "[" * 100_000 + "]" * 100_000,
    "deep_objects": lambda _: '{"a":' * 100_000,
    "long_number": lambda _: '{"schema_version": {"major": ' + "9" * 100_000 + "}}",
    "no_version": _model(schema_version={}),
    "other_version": _model(schema_version={"major": 9, "minor": 1}),
    "text_version": _model(schema_version={"major": "8\n"}),
    "long_writer": _model(schema_version={"major": 7}, torch_version="1\n" * 100_000),
    "no_graph": _model(graph_module=None),
    "graph_of_text": _model(graph_module={"graph": "a", "signature": "b"}),
    "empty_graph": _model(graph_module={}),
}


@pytest.mark.parametrize("name", MODELS)
def test_json_that_is_no_network_is_refused(name, content, path):
    members = _members(content)
    path.write_bytes(_zip({**members, MODEL: MODELS[name](members)}))
    _refusal(path)


def test_the_version_of_the_format_is_named(content, path):
    members = _members(content)
    path.write_bytes(_zip({**members, MODEL: MODELS["other_version"](members)}))
    assert "version 9 of the format of torch.export, this program reads 8" in _refusal(path)


def _graph(change):
    def changed(members):
        data = json.loads(members[MODEL])
        change(data["graph_module"]["graph"], data["graph_module"]["signature"])
        return json.dumps(data)

    return changed


def _written_over(graph, _):
    """A value that is its own latest state would be followed without end."""
    node = graph["nodes"][0]
    again = {**node, "target": "torch.ops.aten.relu_.default"}
    again["inputs"] = [{"name": "self", "arg": node["outputs"][0], "kind": 1}]
    graph["nodes"].insert(1, again)


GRAPHS = {
    "written_over": _written_over,
    "no_target": lambda graph, _: graph["nodes"][0].pop("target"),
    "target": lambda graph, _: graph["nodes"][0].update(target="torch.ops.evil\n.run"),
    "target_of_list": lambda graph, _: graph["nodes"][0].update(target=["a"]),
    "unknown": lambda graph, _: graph["nodes"][0].update(target="torch.ops.aten.a\u2028b.default"),
    "output": lambda graph, _: graph["nodes"][0].update(outputs=[{"as_tensor": {"name": 3}}]),
    "reversed": lambda graph, _: graph["nodes"].reverse(),
    "no_nodes": lambda graph, _: graph["nodes"].clear(),
    "no_values": lambda graph, _: graph["tensor_values"].clear(),
    "no_inputs": lambda _, signature: signature["input_specs"].clear(),
    "no_outputs": lambda _, signature: signature["output_specs"].clear(),
    "argument": lambda graph, _: graph["nodes"][0]["inputs"][0].update(
        arg={"as_ints": [[{"a": 1}]]}
    ),
    "kind": lambda graph, _: graph["nodes"][0]["inputs"][0].update(arg={"as_\nx": 1}),
    "infinite": lambda graph, _: graph["nodes"][0]["inputs"][0].update(arg={"as_float": 10**400}),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_that_are_wrong_are_refused(name, content, path):
    members = _members(content)
    path.write_bytes(_zip({**members, MODEL: _graph(GRAPHS[name])(members)}))
    _refusal(path)


@pytest.mark.parametrize("size", ["4", 2.5, -1, 1 << 70, True, None, {}, [4]])
@pytest.mark.parametrize("side", range(1, 4))
def test_sizes_of_the_image_that_are_no_sizes_are_refused(side, size, content, path):
    members = _members(content)

    def change(graph, signature):
        (image,) = (s["user_input"] for s in signature["input_specs"] if "user_input" in s)
        name = image["arg"]["as_tensor"]["name"]
        graph["tensor_values"][name]["sizes"][side] = {"as_int": size}

    path.write_bytes(_zip({**members, MODEL: _graph(change)(members)}))
    _refusal(path)


def _doubled(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr(FIRST, members[FIRST])
    return buffer.getvalue()


def _without(members, name):
    return _zip({key: value for key, value in members.items() if key != name})


ARCHIVES = {
    "doubled": (_doubled, "two members have the same name"),
    "no_values": (lambda m: _zip({**m, FIRST: b""}), "fewer values of conv.weight"),
    "odd_length": (lambda m: _zip({**m, FIRST: b"abcde"}), "multiple of element size"),
    "no_member": (lambda m: _without(m, FIRST), "weight_0, with conv.weight, is missing"),
    "no_model": (lambda m: _without(m, MODEL), "holds no exported network"),
    "two_models": (lambda m: _zip({**m, "archive/models/b.json": b"{}"}), "2 exported networks"),
    "no_config": (lambda m: _without(m, CONFIG), "conv.weight"),
    "config_of_list": (lambda m: _zip({**m, CONFIG: b"[]"}), "TypeError"),
    "config_of_lists": (lambda m: _zip({**m, CONFIG: b'{"config": []}'}), "AttributeError"),
    "deep_config": (lambda m: _zip({**m, CONFIG: b"[" * 100_000}), "RecursionError"),
    "big_endian": (lambda m: _zip({**m, "archive/byteorder": b"big"}), "big-endian"),
    "compressed": (lambda m: _zip(m, zipfile.ZIP_DEFLATED), "is compressed"),
    "older": (
        lambda _: _zip({"serialized_exported_program.json": b"{}", "version": b"5.1"}),
        "older format of torch.export; save it again",
    ),
    "empty_archive": (lambda _: _zip({}), "holds no exported network"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_that_are_wrong_are_refused(name, content, path):
    make, message = ARCHIVES[name]
    path.write_bytes(make(_members(content)))
    assert message in _refusal(path)


def test_compressed_weights_are_not_unpacked(content, path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, member in _members(content).items():
            if name == FIRST:
                file.writestr(name, bytes(1 << 25), zipfile.ZIP_DEFLATED)
            else:
                file.writestr(name, member)
    path.write_bytes(buffer.getvalue())
    assert "is compressed" in _refusal(path)


def test_other_files_are_refused(path):
    torch.save({"a": torch.ones(2)}, path)
    assert "holds no exported network" in _refusal(path)
    path.write_text("some text\n")
    assert "cannot be read as a file of torch.export.save" in _refusal(path)
    path.write_bytes(b"")
    assert "cannot be read as a file of torch.export.save" in _refusal(path)


def test_places_without_a_file_are_refused(tmp_path):
    assert "is a directory" in _refusal(tmp_path)
    assert "does not exist" in _refusal(tmp_path / "none.pt2")
