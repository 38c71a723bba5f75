"""Exported files: their runtimes compute what JAX computes, and say so."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from datafree_nas.exports import formats, run
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.workdir import EXPORT_CARD
from tests.tiers import full

NEEDS_TFLITE = pytest.param("tflite", marks=pytest.mark.tflite)


@pytest.fixture
def samples(many):
    """Images to calibrate on, and others to check on."""
    return run.Samples(many[:50], many[50:], "held-out synthetic images")


@pytest.mark.parametrize("name", ["stablehlo", *full("torch", "onnx"), NEEDS_TFLITE])
def test_the_program_beside_a_file(name, one_student, as_network, samples, images, tmp_path):
    network, folder = as_network(one_student), tmp_path / "new" / name
    line = run.export(network, formats.find(name, int8=False), False, samples, folder)
    card = json.loads((folder / EXPORT_CARD).read_text())
    file = folder / card["file"]
    assert line.startswith(f"{file}: {file.stat().st_size:,} bytes; float32; logits as in JAX")
    assert card["difference"] <= run.TOLERANCE
    assert card["checked_on"] == 20
    page = (folder / "README.md").read_text()
    assert f"# {card['file']}" in page
    assert ("[1 8 8 1]" if name == "tflite" else "[b 8 8 1]") in page
    assert "-e '.[" not in page, "who gets the file need not have this repository"
    np.save(folder / "images.npy", images)
    command = [sys.executable, "use.py", "images.npy"]
    alone = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=alone)
    assert done.returncode == 0, done.stderr
    found = [int(word) for word in done.stdout.split()]
    assert found == network.compute(images).argmax(-1).tolist()


@pytest.mark.parametrize("name", [*full("onnx"), NEEDS_TFLITE])
def test_every_space(name, any_student, as_network, samples, tmp_path):
    run.export(as_network(any_student), formats.find(name, False), False, samples, tmp_path / "a")
    card = json.loads((tmp_path / "a" / EXPORT_CARD).read_text())
    assert card["difference"] <= run.TOLERANCE


@pytest.mark.parametrize("name", [*full("onnx"), NEEDS_TFLITE])
def test_int8(name, one_student, as_network, samples, tmp_path):
    network, chosen = as_network(one_student), formats.find(name, int8=True)
    run.export(network, chosen, False, samples, tmp_path / "float32")
    line = run.export(network, chosen, True, samples, tmp_path / "int8")
    before, after = (
        json.loads((tmp_path / kind / EXPORT_CARD).read_text()) for kind in ("float32", "int8")
    )
    assert after["calibrated_on"] == 50
    assert after["agreement"] >= 0.8
    assert f"the top class of float32 on {100 * after['agreement']:.1f} % of 20" in line
    found = chosen.run(tmp_path / "int8", samples.check)
    expected = network.compute(samples.check)
    same = np.mean(found.argmax(-1) == expected.argmax(-1))
    assert same == after["agreement"]
    assert 1e-4 < np.abs(found - expected).max() / np.abs(expected).max() < 0.3
    assert before["agreement"] is None


def test_an_earlier_export_is_replaced_by_a_whole_one(one_student, as_network, samples, tmp_path):
    network, chosen = as_network(one_student), formats.find("stablehlo", int8=False)
    run.export(network, chosen, False, samples, tmp_path / "a")
    (tmp_path / "a" / "old").touch()
    run.export(network, chosen, False, samples, tmp_path / "a")
    names = sorted(file.name for file in (tmp_path / "a").iterdir())
    assert names == ["README.md", "export.json", "model.stablehlo", "use.py"]
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("place", [".", "thesis.txt"])
def test_files_that_are_no_export_stay(place, one_student, as_network, samples, tmp_path):
    (tmp_path / "thesis.txt").write_text("all of it")
    chosen = formats.find("stablehlo", int8=False)
    with pytest.raises(UserError, match="is there already and is no export; name a new folder"):
        run.export(as_network(one_student), chosen, False, samples, tmp_path / place)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]
    assert (tmp_path / "thesis.txt").read_text() == "all of it"


def test_a_file_that_computes_something_else_is_refused(one_student, as_network, samples, tmp_path):
    network, chosen = as_network(one_student), formats.find("stablehlo", int8=False)
    wrong = chosen._replace(run=lambda folder, images: 1.01 * network.compute(images))
    with pytest.raises(UserError, match=r"JAX's by 1\.0e-02 of the largest, so nothing was wr"):
        run.export(network, wrong, False, samples, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_converter_that_fails_is_one_line(one_student, as_network, samples, tmp_path):
    def write(network, folder):
        raise RuntimeError("no lowering of aten.sort\n  at line 3")

    chosen = formats.find("stablehlo", int8=False)._replace(write=write)
    expected = r"stablehlo cannot convert student 'synthetic' \(RuntimeError: no lowering of "
    with pytest.raises(UserError, match=expected) as raised:
        run.export(as_network(one_student), chosen, False, samples, tmp_path / "a")
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_int8_without_synthetic_images(one_student, as_network, samples, tmp_path):
    chosen = formats.find("stablehlo", int8=False)
    none = samples._replace(calibration=samples.calibration[:0])
    with pytest.raises(UserError, match="--int8 is calibrated on synthetic images, and this run"):
        run.export(as_network(one_student), chosen, True, none, tmp_path / "a")


def test_int8_of_a_format_that_has_none():
    with pytest.raises(UserError, match="stablehlo has no int8; use --format=onnx or --format=tfl"):
        formats.find("stablehlo", int8=True)


def test_a_converter_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(formats.FORMATS, "onnx", formats.FORMATS["onnx"]._replace(requires=["nox"]))
    with pytest.raises(UserError, match=r"needs nox, .* install: pip install -e '.\[onnx\]'"):
        formats.find("onnx", int8=False)
