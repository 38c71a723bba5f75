"""A run with more synthetic images than the devices hold: searched in part, streamed to train."""

import json
import shutil

import numpy as np
import pytest

from datafree_nas.runtime.files import read_jsonl
from tests import processes, splitting

# 128 images of 64 bytes
FLAGS = ["--config.data.memory_gb=6e-6", "--config.student.rows=('synthetic',)"]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("searched")
    (output,) = processes.run(workdir, *FLAGS, "--stages=teacher,synthesize,search")
    assert "searching on 93 random ones of 128 images" in output
    return workdir


def _train(searched, workdir, **layout):
    shutil.copytree(searched, workdir, ignore=shutil.ignore_patterns(".*"))
    processes.run(workdir, *FLAGS, "--stages=train", **layout)
    row = workdir / "student" / "synthetic"
    return json.loads((row / "result.json").read_text()), read_jsonl(row / "metrics.jsonl")


@pytest.mark.slow
def test_two_processes_train_on_the_same_stream(searched, tmp_path):
    """Sums are split differently, see test_several_devices.py."""
    result, metrics = _train(searched, tmp_path / "one")
    layout = {"processes": 2, "devices": 2, "command": splitting.MAIN}
    others, other_metrics = _train(searched, tmp_path / "two", **layout)
    assert all(0 <= row["waiting"] <= 1 for row in metrics + other_metrics)
    losses, other_losses = ([row["loss"] for row in rows] for rows in (metrics, other_metrics))
    assert len(losses) == 2
    np.testing.assert_allclose(losses, other_losses, rtol=1e-4)
    assert result["test_accuracy"] == pytest.approx(others["test_accuracy"], abs=0.01)
