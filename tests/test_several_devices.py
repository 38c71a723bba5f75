"""One run, on one device and on several, in one process and in two: the same images and search.

The two processes split batches as small as these because `tests/splitting.py` makes them.

Sums are split differently over devices, so floats differ in their last bits, and Adam enlarges
that: its first steps have the size of the learning rate, whatever the size of a gradient. So these
are small. After 20 iterations the losses below differ by some 1e-7 of their value, and no byte of
an image; 1e-4 leaves room for other CPUs, and is far below what a BatchNorm over a part of the
batch would do.
"""

import json
import shutil

import jax
import numpy as np
import pytest

from datafree_nas.runtime.checkpoint import load_variables
from datafree_nas.runtime.files import read_jsonl
from datafree_nas.synthesis import store
from tests import guarded, processes, splitting

FLAGS = [
    "--config.synthesis.resolutions=((2, 6), (1, 14))",
    "--config.synthesis.learning_rate=0.003",
    "--config.synthesis.log_every=1",
    "--config.search.score=kl",
]
LAYOUTS = {
    "two devices": {"devices": 2, "command": guarded.MAIN},
    "eight devices": {"devices": 8},
    "two processes of two devices": {"processes": 2, "devices": 2, "command": splitting.MAIN},
}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("teacher")
    processes.run(workdir, *FLAGS, "--stages=teacher")
    return workdir


def _run(workdir, teacher, **layout):
    shutil.copytree(teacher / "teacher", workdir / "teacher")
    processes.run(workdir, *FLAGS, "--stages=teacher,synthesize,search", **layout)
    return workdir


@pytest.fixture(scope="module")
def on_one(teacher, tmp_path_factory):
    return _run(tmp_path_factory.mktemp("one"), teacher)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("two devices", marks=pytest.mark.full),
        pytest.param("eight devices", marks=pytest.mark.slow),
        pytest.param("two processes of two devices", marks=pytest.mark.full),
    ],
)
def on_several(request, teacher, tmp_path_factory):
    return _run(tmp_path_factory.mktemp("several"), teacher, **LAYOUTS[request.param])


@pytest.mark.full
def test_small_batches_are_computed_whole_by_every_process(teacher, tmp_path):
    """Nothing is added up between them, so not a bit of the result differs."""
    processes.run(tmp_path, *FLAGS, "--stages=teacher", processes=2)
    one, two = (read_jsonl(w / "teacher" / "metrics.jsonl") for w in (teacher, tmp_path))
    assert two == one
    one, two = (load_variables(w / "teacher" / "variables") for w in (teacher, tmp_path))
    jax.tree.map(np.testing.assert_array_equal, two, one)


def _curves(workdir):
    units = sorted((workdir / "synthetic" / "units").glob("*.json"))
    curves = [json.loads(unit.read_text())["curves"] for unit in units]
    return [unit.name for unit in units], np.array([[i["loss"] for i in unit] for unit in curves])


def test_the_same_images(on_one, on_several):
    (names, one), (same_names, several) = _curves(on_one), _curves(on_several)
    assert names == same_names
    assert one.shape == (4, 20)
    np.testing.assert_allclose(several, one, rtol=1e-4)
    mine, theirs = (store.load(workdir / "synthetic") for workdir in (on_one, on_several))
    np.testing.assert_array_equal(mine.labels, theirs.labels)
    np.testing.assert_array_equal(mine.rounds, theirs.rounds)
    far = np.abs(mine.images.astype(int) - theirs.images.astype(int)) > 1
    assert np.mean(far) < 1e-3, "bytes that differ by more than rounding"


def test_the_same_search(on_one, on_several):
    one, several = (read_jsonl(w / "search" / "history.jsonl") for w in (on_one, on_several))
    assert [row["architecture"] for row in several] == [row["architecture"] for row in one]
    np.testing.assert_allclose([r["kl"] for r in several], [r["kl"] for r in one], rtol=1e-3)
    found = [
        json.loads((w / "search" / "architecture.json").read_text()) for w in (on_one, on_several)
    ]
    assert found[0]["architecture"] == found[1]["architecture"]
