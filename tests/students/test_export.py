"""What a student leaves for others says the same as the student."""

import importlib.util
import re
import subprocess
import sys

import jax
import jax.export
import numpy as np
import pytest
import safetensors
import torch

from datafree_nas import spaces
from datafree_nas.data.preprocessing import Preprocessing
from datafree_nas.runtime import backend, checkpoint
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import write_json
from datafree_nas.spaces.genotype import DARTS_V2
from datafree_nas.students import export, student
from tests.students.conftest import ALONE

SEEN = {"image_size": [8, 8, 1], "num_classes": 10}  # fields that every space has


def test_stablehlo_runs_without_this_package(one_student, example, images, logits, tmp_path):
    export.write(tmp_path, one_student)
    np.save(tmp_path / "images.npy", images)
    code = f"{ALONE}\n{example('stablehlo')}\nnp.save('logits.npy', logits)"
    subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, check=True)
    found = np.load(tmp_path / "logits.npy")
    np.testing.assert_allclose(found, logits(one_student), rtol=0, atol=1e-5)


def test_pytorch_runs_without_this_package(any_student, example, images, logits, tmp_path):
    export.write(tmp_path, any_student)
    np.save(tmp_path / "images.npy", images)
    alone = f"{ALONE}\nsys.path.insert(0, '.')\nsys.modules['jax'] = None"
    code = f"{alone}\n{example('pytorch')}\nnp.save('logits.npy', logits)"
    subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, check=True)
    found, expected = np.load(tmp_path / "logits.npy"), logits(any_student)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()))


@pytest.mark.full
@pytest.mark.parametrize("setting", ["imagenet", "auxiliary"])
def test_pytorch_of_other_networks_of_darts(setting, random_variables, tmp_path):
    sizes = {"network_channels": 4, "network_cells": 3, setting: True}
    space = spaces.create_space("darts", num_classes=7, image_size=(32, 32, 3), **sizes)
    network = space.network(space.decode(DARTS_V2))
    variables = random_variables(network, jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32))
    preprocessing = Preprocessing((0.3, 0.4, 0.5), (0.2, 0.3, 0.4))
    one = student.Student(space, space.decode(DARTS_V2), preprocessing, variables)
    export.write(tmp_path, one)
    spec = importlib.util.spec_from_file_location("student", tmp_path / "student.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    images = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    with torch.no_grad():
        found = module.Student.load(tmp_path / "student.safetensors")(torch.from_numpy(images))
    expected = np.asarray(one.logits(jax.numpy.asarray(images)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()))


def _exported(one):
    return export.exported(one.logits, export.image_batch(one))


def test_stablehlo_of_every_space(any_student, images, logits):
    written = _exported(any_student)
    assert written.platforms == ("cpu", "cuda", "rocm", "tpu")
    expected = logits(any_student)
    found = jax.jit(jax.export.deserialize(written.serialize()).call)(images)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("any_student", ["nasbench_macro"], indirect=True)
def test_stablehlo_is_the_same_wherever_it_is_written(any_student, monkeypatch):
    here = _exported(any_student).serialize()
    assert b".py" not in here, "names of files on this machine"
    monkeypatch.setattr(backend, "on_cpu", lambda: False)
    assert _exported(any_student).serialize() == here


@pytest.mark.parametrize("any_student", ["nasbench_macro"], indirect=True)
def test_a_cpu_gets_no_depthwise_convolutions_and_others_do(any_student, images):
    grouped = r"feature_group_count ?= ?(?!1\b)\d"
    written = _exported(any_student)
    assert re.search(grouped, written.mlir_module())
    on_cpu = jax.jit(written.call).lower(images).compile().as_text()
    assert "convolution" in on_cpu
    assert not re.search(grouped, on_cpu)


def test_files_are_written_anew_from_the_variables(one_student, tmp_path):
    checkpoint.save_variables(tmp_path / "variables", one_student.variables)
    export.write(tmp_path, one_student)
    files = [tmp_path / "student.json", tmp_path / "student.stablehlo"]
    before = [file.read_bytes() for file in files]
    export.write(tmp_path, student.load(tmp_path))
    assert [file.read_bytes() for file in files] == before


def test_the_folder_is_enough_to_go_on_here(any_student, images, logits, tmp_path):
    checkpoint.save_variables(tmp_path / "variables", any_student.variables)
    export.write(tmp_path, any_student)
    found = student.load(str(tmp_path))
    assert found.space == any_student.space
    assert found.preprocessing == any_student.preprocessing
    np.testing.assert_array_equal(found.architecture, any_student.architecture)
    jax.tree.map(np.testing.assert_array_equal, found.variables, any_student.variables)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "none"}, "no card of a student: 'none' is no architecture"),
        (
            {"space": {"name": "nasbench2", **SEEN}},
            "'nasbench2' is unknown; did you mean 'nasbench201'",
        ),
        (
            {"space": {"name": "nasbench201", "depth": 3, **SEEN}},
            "card of a student: .*depth: nasbench201 has no such setting",
        ),
        ({"space": {"name": "nasbench201"}}, "'space' is .*, must be an object with name, image_"),
        ({"mean": None}, "'mean' is None, must be one number a channel"),
        ({"std": [0]}, r"'std' is \[0\], must be"),
    ],
    ids=str,
)
def test_a_damaged_card(change, message, one_student, tmp_path):
    write_json(tmp_path / student.CARD, student.card(one_student) | change)
    with pytest.raises(UserError, match=message):
        student.load(tmp_path)


def test_safetensors_say_what_they_are(one_student, tmp_path):
    export.write(tmp_path, one_student)
    with safetensors.safe_open(tmp_path / "student.safetensors", "numpy") as file:
        text = one_student.space.encode(one_student.architecture)
        assert file.metadata()["architecture"] == text
        assert file.metadata()["mean"] == "(0.3,)"
        assert file.get_tensor("stem.0.weight").shape == (4, 1, 3, 3)
