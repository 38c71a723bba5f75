"""What is made of looks at a run, and a run that is watched."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import watching
from benchmarks.watching import Look
from tests import forks

ROOT = Path(__file__).parents[2]


def test_a_stage_ends_where_the_next_begins():
    looks = [Look(second, float(second)) for second in range(21)]
    start, search, whole = watching.rows(looks, {"start": 4.0, "search": 15.0})
    assert start == {
        "name": "start", "seconds": 4.0, "peak_gib": 4.0, "early_gib": 0.0, "last_gib": 4.0
    }  # fmt: skip
    assert search["seconds"] == 11.0
    assert search["early_gib"] == 5.0  # a tenth of twelve looks later than the first
    assert (whole["name"], whole["seconds"], whole["peak_gib"]) == ("all", 20.0, 20.0)


def test_of_a_stage_shorter_than_a_look_the_last_look_counts():
    looks = [Look(0.0, 1.0), Look(5.0, 2.0)]
    (_, stage, _) = watching.rows(looks, {"start": 1.0, "report": 1.01})
    assert stage["peak_gib"] == 2.0


def _command(*arguments):
    command = [sys.executable, "-m", "benchmarks.end_to_end", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.full
def test_watches_a_run(tmp_path):
    stages = ["--stages=teacher", "--config.teacher.train.steps=2", "--config.seed=3"]
    done = _command(f"--workdir={tmp_path}/run", f"--json={tmp_path}/found.json", "--", *stages)
    assert done.returncode == 0, done.stderr
    found = {r["name"]: r for r in json.loads((tmp_path / "found.json").read_text())["rows"]}
    assert list(found) == ["start", "teacher", "all"]
    parts = found["start"]["seconds"] + found["teacher"]["seconds"]
    assert 0.5 * found["all"]["seconds"] < parts <= found["all"]["seconds"] + 0.5
    assert 0.05 < found["teacher"]["peak_gib"] < 20
    assert (tmp_path / "run" / "teacher" / "done.json").exists()


def test_a_directory_that_is_there_is_not_measured_in(tmp_path):
    done = forks.run("benchmarks.end_to_end", f"--workdir={tmp_path}")
    assert done.returncode == 2
    assert done.stderr == f"error: --workdir={tmp_path} is there already; name a new directory\n"
