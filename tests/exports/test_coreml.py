"""Core ML: what is checked where it cannot run, and what is left for a Mac to check."""

import json
import subprocess
import sys
from types import ModuleType

import jax
import numpy as np
import pytest

from datafree_nas import teachers
from datafree_nas.exports import coreml, formats, run, torch_module
from datafree_nas.exports.network import of_labeller
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.workdir import EXPORT_CARD
from datafree_nas.teachers import registry

# stands for coremltools on a Mac: it knows the logits of all images by their pixels
STAND_IN = """
import numpy as np


class ComputeUnit:
    CPU_ONLY = "CPU_ONLY"


class models:
    class MLModel:
        def __init__(self, path, compute_units):
            assert path.endswith("model.mlpackage")
            assert compute_units == "CPU_ONLY"
            self.known = np.load("known.npz")

        def predict(self, inputs):
            (image,) = inputs["images"]
            assert image.dtype == np.int32
            (place,) = np.flatnonzero((self.known["images"] == image).all((1, 2, 3)))
            return {"logits": self.known["logits"][place][None]}
"""
ELSEWHERE = "Core ML needs macOS"


@pytest.fixture
def samples(many):
    """Images to check on."""
    return run.Samples(many[:50], many[50:], "held-out synthetic images")


def _write(_network, folder):
    """Writes a package without a model, for tests that do not need the converter."""
    (folder / "model.mlpackage").mkdir()
    (folder / "model.mlpackage" / "Manifest.json").write_bytes(bytes(1234))


@pytest.fixture
def exported(one_student, as_network, samples, tmp_path):
    """An export on a system other than macOS, its line, and the network."""
    network = as_network(one_student)
    chosen = coreml.FORMAT._replace(write=_write, not_run=ELSEWHERE)
    line = run.export(network, chosen, False, samples, tmp_path / "coreml")
    return tmp_path / "coreml", line, network


def test_that_a_file_was_not_run_is_said(exported, samples):
    folder, line, network = exported
    size, finding = "1,234 bytes", f"not run: {ELSEWHERE}; use.py there first compares it with JAX"
    assert line == f"{folder / 'model.mlpackage'}: {size}; float32; {finding}"
    page = (folder / "README.md").read_text()
    assert f"- {size}. Float32; {finding}." in page
    assert "images of 0 to 255, int32 `[1 8 8 1]`" in page
    assert "`check.npz` holds" in page
    card = json.loads((folder / EXPORT_CARD).read_text())
    assert (card["not_run"], card["difference"], card["checked_on"]) == (ELSEWHERE, None, 0)
    check = np.load(folder / "check.npz")
    np.testing.assert_array_equal(check["images"], samples.check[:8])
    np.testing.assert_allclose(check["logits"], network.compute(samples.check[:8]), rtol=1e-5)
    assert check["tolerance"] == run.TOLERANCE


@pytest.mark.parametrize("error", [0, 3e-4, np.nan])
def test_a_mac_compares_the_file_before_it_is_used(error, exported, samples, images):
    folder, _, network = exported
    known = np.concatenate([samples.check[:8], images])
    logits = network.compute(known)
    logits[2, 1] += error * np.abs(logits[:8]).max()
    np.savez(folder / "known.npz", images=known, logits=logits)
    np.save(folder / "images.npy", images)
    (folder / "coremltools.py").write_text(STAND_IN)
    command = [sys.executable, "use.py", "images.npy"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if error:
        assert done.returncode == 1
        number = "nan" if np.isnan(error) else r"3.0e-04"
        message = f"error: the logits differ from JAX's by {number} of the largest; do not use this"
        assert done.stderr.startswith(message), done.stderr
        assert done.stdout == ""
    else:
        assert done.returncode == 0, done.stderr
        found = [int(word) for word in done.stdout.split()]
        assert found == network.compute(images).argmax(-1).tolist()


def test_a_mac_runs_the_file_when_it_is_written(
    one_student, as_network, samples, tmp_path, monkeypatch
):
    stand_in = ModuleType("coremltools")
    exec(STAND_IN, vars(stand_in))
    monkeypatch.setitem(sys.modules, "coremltools", stand_in)
    monkeypatch.chdir(tmp_path)
    network, chosen = as_network(one_student), coreml.FORMAT._replace(write=_write, not_run="")
    logits = network.compute(samples.check)
    np.savez("known.npz", images=samples.check, logits=logits)
    line = run.export(network, chosen, False, samples, tmp_path / "coreml")
    assert "logits as in JAX but for 0e+00 of the largest on 20 held-out synthetic images" in line
    assert "not run" not in line
    np.savez("known.npz", images=samples.check, logits=1.01 * logits)
    with pytest.raises(
        UserError, match=r"coreml file differ from JAX's by 1\.0e-02 of the largest"
    ):
        run.export(network, chosen, False, samples, tmp_path / "coreml")


def test_without_coremltools(monkeypatch):
    monkeypatch.setitem(sys.modules, "coremltools", None)
    expected = r"--format=coreml needs coremltools, .* install: pip install -e '.\[coreml\]'"
    with pytest.raises(UserError, match=expected):
        formats.find("coreml", int8=False)
    with pytest.raises(UserError, match="--format=coreml has no int8; use --format=onnx or --form"):
        formats.find("coreml", int8=True)


def _weights(network):
    module = torch_module.module(network.logits, network.batch(1))
    return [buffer.numpy() for buffer in module.buffers()]


@pytest.mark.coreml
def test_a_student(any_student, as_network, samples, tmp_path):
    network, chosen = as_network(any_student), formats.find("coreml", int8=False)
    run.export(network, chosen, False, samples, tmp_path / "coreml")
    card = json.loads((tmp_path / "coreml" / EXPORT_CARD).read_text())
    if chosen.not_run:
        assert (card["not_run"], card["difference"]) == (ELSEWHERE, None)
    else:
        assert card["difference"] <= run.TOLERANCE
    assert card["bytes"] > 4 * sum(weight.size for weight in _weights(network))


@pytest.mark.coreml
def test_a_file_of_another_network_is_refused(one_student, as_network, tmp_path):
    network = as_network(one_student)
    coreml.FORMAT.write(network, tmp_path)
    weights = _weights(network)
    coreml.inspect(tmp_path, network, weights)
    for changes in ({"num_classes": 8}, {"image_size": (8, 9, 1)}):
        with pytest.raises(UserError, match="Core ML file has other input or output than the net"):
            coreml.inspect(tmp_path, network._replace(**changes), weights)
    for place, weight in enumerate(weights):
        other = weight.copy()
        other.reshape(-1)[-1] += 1
        with pytest.raises(UserError, match="Core ML file has other weights than the network"):
            coreml.inspect(tmp_path, network, [*weights[:place], other, *weights[place + 1 :]])


@pytest.mark.coreml
@pytest.mark.parametrize("arch", ["cifar_resnet8", "mobilenetv2_035", "vgg11_bn", "densenet121"])
def test_a_teacher(arch, random_variables, tmp_path):
    teacher = registry.create_teacher(arch, 7, image_size=(32, 32, 3))
    shape = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    labeller = teachers.labeller(teacher, random_variables(teacher.model, shape))
    coreml.FORMAT.write(of_labeller(teacher, labeller), tmp_path)
