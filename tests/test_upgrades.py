"""Workdirs of earlier versions go on, or say in one line why they do not.

`workdirs/VERSION.tar.xz` holds three runs of a version, all of `_config`: `teacher` was stopped
while the teacher was trained, `search` while the supernet was, `whole` has ended.
"""

import json
import shutil
from pathlib import Path

import pytest

from configs import common
from datafree_nas import pipeline
from datafree_nas.runtime.errors import UserError
from tests import tiny

ARCHIVES = sorted((Path(__file__).parent / "workdirs").glob("*.tar.xz"))


def _config():
    config = tiny.get_config()
    config.teacher.factory = "tests.small_model:create"
    config.teacher.train.update(steps=1000, log_every=20)
    config.synthesis.update(images=32, batch_size=32)
    config.search.train.steps = 300
    config.student.rows = ()
    # settings and the loss of these versions
    config.search.train.update(learning_rate=1.0, weight_decay=5e-4)
    config.student.train.update(learning_rate=0.5, weight_decay=5e-4)
    config.student.real_train = common.recipe(labels="hard")
    for recipe in (config.search.train, config.student.train):
        recipe.distillation = "cross_entropy"
    return config


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.name.partition(".")[0])
def runs(request, tmp_path):
    shutil.unpack_archive(request.param, tmp_path, filter="data")
    return tmp_path


def _summary(workdir):
    return json.loads((workdir / "report" / "summary.json").read_text())


def test_a_finished_run_is_done(runs, capsys):
    before = _summary(runs / "whole")
    pipeline.run(_config(), runs / "whole", pipeline.NAMES)
    assert capsys.readouterr().out.count("done before") >= 4, "the report may be made again"
    assert _summary(runs / "whole") == before


def test_the_training_of_a_teacher_goes_on(runs, capsys):
    pipeline.run(_config(), runs / "teacher", ["teacher"])
    assert "train teacher: " in (err := capsys.readouterr().err)
    assert "resumed" in err
    rows = (runs / "teacher" / "teacher" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [*range(20, 1001, 20)]


@pytest.mark.full
def test_a_search_that_kept_other_things_is_named(runs):
    """The state of the evolution was another one before the release of 2026-11-28."""
    stages = ["teacher", "synthesize", "search"]
    with pytest.raises(UserError, match=r"search/working/\d+ was saved by another version") as e:
        pipeline.run(_config(), runs / "search", stages)
    assert f"remove {runs}/search/search/working to begin" in str(e.value)
    shutil.rmtree(runs / "search" / "search" / "working")
    pipeline.run(_config(), runs / "search", stages)
    found = json.loads((runs / "search" / "search" / "architecture.json").read_text())
    assert found["evaluated"] == 8
