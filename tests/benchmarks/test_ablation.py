"""The commands that an ablation runs, and what it makes of their results."""

import json
import math
from pathlib import Path

import pytest
from absl import flags
from absl.testing import flagsaver

from benchmarks import ablation
from datafree_nas.runtime.errors import UserError

QUALITY = {"agreement": 0.9, "feature_diversity": 0.2, "density": 0.5, "coverage": 0.4}


@pytest.fixture
def commands(monkeypatch):
    """Instead of running them, writes what they would."""
    ran = []

    def pretend(module, *arguments):
        given = dict(a.removeprefix("--").split("=", 1) for a in arguments)
        ran.append((module, given))
        seed = int(given.get("config.seed", 0))
        if module == "benchmarks.ranking":
            _write(Path(given["out"]) / "ranking.json", {"tau": 0.5 + 0.1 * seed})
        elif module == "benchmarks.student":
            _write(Path(given["out"]) / "result.json", {"test_accuracy": 0.8})
        elif module == "benchmarks.quality":
            _write(Path(given["json"]), QUALITY)
        elif module == "datafree_nas.port_torch":
            Path(given["out"]).mkdir()

    monkeypatch.setattr(ablation, "_command", pretend)
    return ran


def _write(path, row):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"rows": [row]}))


def _run(out, **given):
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    common = {"checkpoint": "20.th", "verifier": "56.th", "table": "t.json", "data": "tfds:c"}
    with flagsaver.flagsaver(**common, out=str(out), images=100, **given):
        ablation._run(["--config.search.train.steps=7"])
    return json.loads((out / "ablation.json").read_text())["rows"]


def test_means_and_errors_over_seeds(commands, tmp_path):
    (row,) = _run(tmp_path, variants=["rounds_2"], seeds=["0", "1"], measures=["tau", "quality"])
    assert row["name"] == "rounds_2"
    assert row["tau"] == pytest.approx(0.55)
    assert row["tau_error"] == pytest.approx(0.1 / math.sqrt(2) / math.sqrt(2))
    assert row["coverage"] == pytest.approx(0.4)
    assert "student" not in row
    assert "coverage" in (tmp_path / "ablation.svg").read_text()
    made = [given for module, given in commands if module == "datafree_nas.main"]
    assert [m["config.seed"] for m in made] == ["0", "1"]
    assert made[0]["config.synthesis.rounds"] == "2"
    assert made[0]["config.synthesis.images"] == "50"
    assert made[0]["config.search.train.steps"] == "7"


def test_whoever_is_not_inverted_looks(commands, tmp_path):
    _run(tmp_path, variants=["base", "other_teacher"], seeds=["0"], measures=["quality"])
    inverted = [g["config.teacher.checkpoint"] for m, g in commands if m == "datafree_nas.main"]
    assert inverted == ["20.th", "56.th"]
    ported = {g["out"]: g["checkpoint"] for m, g in commands if m == "datafree_nas.port_torch"}
    looked = [ported[g["verifier"]] for m, g in commands if m == "benchmarks.quality"]
    assert looked == ["56.th", "20.th"]


def test_what_is_measured_is_not_measured_again(commands, tmp_path):
    for _ in range(2):
        _run(tmp_path, variants=["base"], seeds=["0"], measures=["tau", "student", "quality"])
    measured = [module for module, _ in commands if module.startswith("benchmarks.")]
    assert measured == ["benchmarks.ranking", "benchmarks.student", "benchmarks.quality"]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"variants": ["bse"]}, "--variants: no 'bse'; did you mean 'base'"),
        ({"measures": ["taus"]}, "--measures: no 'taus'; did you mean 'tau'"),
    ],
)
def test_an_unknown_name_is_one_line(commands, tmp_path, given, line):
    with pytest.raises(UserError) as error:
        _run(tmp_path, **given)
    assert str(error.value).startswith(line)
    assert not commands
