"""A student as ONNX; what runs the converter needs the extra `onnx`, and is so marked."""

import subprocess
import sys

import numpy as np
import pytest

from datafree_nas.runtime import checkpoint
from datafree_nas.runtime.errors import UserError
from datafree_nas.students import export, onnx_file


@pytest.mark.onnx
def test_onnxruntime_computes_the_logits(any_student, images, logits):
    import onnxruntime

    content, difference = onnx_file.convert(any_student)
    assert difference <= 1e-4
    session = onnxruntime.InferenceSession(content)
    expected = logits(any_student)
    for several in (images, images[:1]):
        (found,) = session.run(["logits"], {"images": several})
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found, expected[: len(several)], rtol=0, atol=1e-4 * scale)


@pytest.mark.onnx
def test_the_command_and_the_example(one_student, example, images, logits, tmp_path, monkeypatch):
    folder = tmp_path / "run" / "student" / "real"
    checkpoint.save_variables(folder / "variables", one_student.variables)
    export.write(folder, one_student)
    command = [sys.executable, "-m", "datafree_nas.export_onnx", "--row=real"]
    command += [f"--workdir={tmp_path}/run", f"--out={tmp_path}/new/student.onnx"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "student.onnx: " in done.stdout
    np.save(tmp_path / "new" / "images.npy", images)
    monkeypatch.chdir(tmp_path / "new")
    exec(example("student.onnx"), names := {})
    np.testing.assert_allclose(names["logits"], logits(one_student), rtol=1e-4, atol=1e-4)


@pytest.mark.onnx
def test_a_file_that_computes_something_else_is_refused(one_student, monkeypatch):
    import jax2onnx

    convert = jax2onnx.to_onnx
    monkeypatch.setattr(
        jax2onnx, "to_onnx", lambda f, *a, **k: convert(lambda x: [1.01 * f(x)[0]], *a, **k)
    )
    with pytest.raises(UserError, match=r"off by 1\.0e-02 of the largest, so nothing was written"):
        onnx_file.convert(one_student)


def test_without_the_extra_it_says_what_to_install(one_student, monkeypatch):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    with pytest.raises(UserError, match=r"install it: pip install -e '\.\[onnx\]'"):
        onnx_file.convert(one_student)
