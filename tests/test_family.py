"""Students of several sizes after one search, on the tiny experiment."""

import json
import shutil

import pytest

from datafree_nas import pipeline
from datafree_nas.runtime.errors import UserError
from tests import tiny_blocks

pytestmark = pytest.mark.full
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
