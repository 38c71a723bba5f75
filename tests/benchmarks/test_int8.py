"""What int8 costs a network: the table of a run's teacher, its figures by hand, its refusals."""

import json

import numpy as np
import pytest

from benchmarks import quantized
from benchmarks.quantized import Compared
from datafree_nas import pipeline
from datafree_nas.data import sources
from datafree_nas.exports import network
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.workdir import Workdir
from tests import forks, tiny


def test_a_row_by_hand():
    logits = np.eye(3, dtype=np.float32)
    moved = logits[[0, 2, 1]]
    images = np.zeros((3, 4, 4, 1), np.uint8)
    tested = {"test": Compared(images, np.array([0, 2, 2])), "other": Compared(images)}
    found, float32 = {"test": moved, "other": logits}, {"test": logits, "other": logits}
    assert quantized.compare("int8", found, float32, tested) == pytest.approx(
        {
            "name": "int8",
            "accuracy_test": 200 / 3,
            "same_class_test": 100 / 3,
            "same_class_other": 100,
        }
    )


def test_windows_of_the_photographs():
    windows = quantized.photographs((224, 200, 3))
    assert windows.shape == (2 * 6 * 12, 224, 200, 3)
    assert len(np.unique(windows.reshape(len(windows), -1), axis=0)) == len(windows)
    with pytest.raises(UserError, match=r"have no windows of \(8, 8, 1\)"):
        quantized.photographs((8, 8, 1))


@pytest.mark.full
def test_the_table_of_a_teacher(tmp_path):
    config = tiny.get_config()
    pipeline.run(config, tmp_path / "run", ["teacher", "synthesize"])
    flags = [f"--workdir={tmp_path}/run", "--real=digits", f"--json={tmp_path}/int8.json"]
    done = forks.run("benchmarks.int8", *flags)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "int8.json").read_text())["rows"]
    kinds = ("synthetic", "noise", "real")
    names = ["float32", *(f"onnx int8, calibrated on {kind}" for kind in kinds)]
    assert [row["name"] for row in rows] == names
    teacher = network.of_teacher(Workdir(tmp_path / "run"))
    test = sources.load(sources.Request("digits", teacher.image_size), "test")
    right = teacher.compute(np.asarray(test.images)).argmax(-1) == test.labels
    assert rows[0]["accuracy_test"] == pytest.approx(100 * np.mean(right))
    assert rows[0]["same_class_synthetic"] == rows[0]["same_class_test"] == 100
    assert all(row["same_class_test"] > 80 for row in rows)


def test_a_run_without_synthetic_images(tmp_path):
    done = forks.run("benchmarks.int8", f"--workdir={tmp_path}")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("formats", "message"),
    [
        ("torch", "--format=torch has no int8; use --format=onnx or --format=tflite"),
        ("onnx,tflight", "--formats: 'tflight' is unknown; did you mean 'tflite'?"),
    ],
)
def test_a_format_without_int8(formats, message, tmp_path):
    done = forks.run("benchmarks.int8", f"--workdir={tmp_path}", f"--formats={formats}")
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
