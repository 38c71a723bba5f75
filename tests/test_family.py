"""Students of several sizes after one search, on the tiny experiment."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from datafree_nas import pipeline
from datafree_nas.exports import formats, network, run
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.workdir import EXPORT_CARD, Workdir
from tests import tiny_blocks
from tests.students.conftest import ALONE, example

__all__ = ["example"]

pytestmark = pytest.mark.full
TFLITE, TFLITE_INT8 = (
    pytest.param(kind, marks=pytest.mark.tflite) for kind in ("tflite", "tflite_int8")
)
LIMIT = 11_600  # MACs; half of the networks of the space have fewer


def _config(count):
    """Scores many networks of many costs, so that the front has three also by chance."""
    config = tiny_blocks.get_config()
    config.search.evolution.update(population=40, generations=3, parents=8, mutations=16)
    config.search.evolution.max_macs = LIMIT
    config.student.update(rows=("synthetic",), count=count)
    return config


def _results(workdir):
    files = (workdir / "student").glob("*/result.json")
    return {file.parent.name: json.loads(file.read_text()) for file in files}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("family") / "run"
    pipeline.run(_config(3), workdir, pipeline.NAMES)
    return workdir


def test_three_students_of_different_cost(finished):
    found = json.loads((finished / "search" / "architecture.json").read_text())
    front = found["front"]
    within = [row for row in front if row["macs"] <= LIMIT]
    assert within[-1]["architecture"] == found["architecture"]
    assert len(within) < len(front), "larger networks than the limit allows are searched as well"
    for name in ("macs", "score"):
        values = [row[name] for row in front]
        assert values == sorted(set(values))
    results = _results(finished)
    family = {name for name in results if name.startswith("family_")}
    assert results.keys() == {"teacher", "synthetic", *family}
    assert len(family) == 2
    for name in family:
        place = int(name.removeprefix("family_"))
        assert results[name]["architecture"] == front[place - 1]["architecture"]
        exports = {file.name for file in (finished / "student" / name).iterdir()}
        assert {"student.stablehlo", "student.safetensors", "student.py"} <= exports
    rows = json.loads((finished / "report" / "summary.json").read_text())["rows"]
    assert [row.get("pick", False) for row in rows] == [False, True, False, False]
    assert rows[2]["macs"] < rows[3]["macs"]
    assert rows[1]["macs"] <= LIMIT


def test_each_student_loads_without_this_package_and_agrees(finished, example, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 1)).astype(np.uint8)
    names = [name for name in _results(finished) if name != "teacher"]
    assert len(names) == 3
    for name in names:
        folder = tmp_path / name
        shutil.copytree(finished / "student" / name, folder)
        np.save(folder / "images.npy", images)
        code = f"{ALONE}\nsys.path.insert(0, '.')\n{example('pytorch')}\nnp.save('logits', logits)"
        subprocess.run([sys.executable, "-I", "-c", code], cwd=folder, check=True)
        expected = network.of_student(Workdir(finished), name).compute(images)
        tolerance = 1e-5 * max(1, np.abs(expected).max())
        np.testing.assert_allclose(np.load(folder / "logits.npy"), expected, 0, tolerance)


@pytest.mark.parametrize("kind", ["stablehlo", "torch", "onnx", "onnx_int8", TFLITE, TFLITE_INT8])
def test_each_student_is_exported_in_every_format(kind, finished):
    name, int8 = kind.removesuffix("_int8"), kind.endswith("_int8")
    workdir = Workdir(finished)
    for row in _results(finished).keys() - {"teacher"}:
        found = network.of_student(workdir, row)
        folder, images = workdir.root / "export" / row / kind, run.samples(workdir, found)
        run.export(found, formats.find(name, int8), int8, images, folder)
        card = json.loads((folder / EXPORT_CARD).read_text())
        assert card["difference"] <= run.TOLERANCE
        assert card["checked_kind"] == "held-out synthetic images"
        assert card["int8"] is int8
        if int8:
            assert card["agreement"] > 0.5


def test_only_what_is_missing_is_trained(finished, tmp_path, capsys):
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    before = _results(workdir)
    shutil.rmtree(workdir / "student" / "family_1")
    (workdir / "student" / "done.json").unlink()
    capsys.readouterr()
    pipeline.run(_config(3), workdir, pipeline.NAMES)
    err = capsys.readouterr().err
    assert "train family_1" in err
    assert err.count("train ") == err.count("train family_1")
    assert _results(workdir) == before


def test_a_larger_count_only_adds(finished, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    before = _results(workdir)
    pipeline.run(_config(4), workdir, pipeline.NAMES)
    after = _results(workdir)
    assert len(after) == len(before) + 1
    assert before.items() <= after.items()


def test_more_than_the_front_has(finished):
    with pytest.raises(UserError, match=r"count=900, but the search found a front of \d+ arch"):
        pipeline.run(_config(900), finished, pipeline.NAMES)


def test_a_search_for_one_network_is_another_search(finished):
    with pytest.raises(UserError, match=r"search\.objective was 'pareto', is 'score'"):
        pipeline.run(_config(1), finished, pipeline.NAMES)
