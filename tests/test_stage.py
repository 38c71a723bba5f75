"""What an artifact was made from: when it may be used again, and when it may not."""

import dataclasses
import json

import pytest

from datafree_nas import artifact, pipeline
from datafree_nas.experiment import resolve
from datafree_nas.runtime.errors import UserError
from tests import tiny

STAGES = {each.name: each for each in pipeline.STAGES}
ARTIFACTS = {
    "teacher": "teacher.json",
    "synthesize": "checksums.json",
    "search": "architecture.json",
    "train": "teacher/result.json",
    "report": "summary.json",
}


def replace_run(name, run, monkeypatch):
    """Replaces what a stage does; returns the new stage."""
    changed = dataclasses.replace(STAGES[name], run=run)
    stages = tuple(changed if each.name == name else each for each in pipeline.STAGES)
    monkeypatch.setattr(pipeline, "STAGES", stages)
    return changed


@pytest.fixture
def workdir(tmp_path):
    """With files that stand for a run's artifacts, all stages begun one after another."""
    for name, result in ARTIFACTS.items():
        file = tmp_path / "run" / STAGES[name].directory / result
        (tmp_path / "run" / STAGES[name].directory).mkdir(parents=True)
        _begin(name, tmp_path / "run")
        file.parent.mkdir(exist_ok=True)
        file.write_text(name)
    return tmp_path / "run"


def _begin(name, workdir, **changes):
    config = tiny.get_config()
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return pipeline.begin_stage(STAGES[name], resolve(config, workdir))


def test_the_same_again(workdir):
    assert [_begin(name, workdir) for name in STAGES] == [False] * 5
    moved = workdir.rename(workdir.with_name("moved"))
    assert [_begin(name, moved) for name in STAGES] == [False] * 5


def test_another_config(workdir):
    (workdir / "synthetic" / ".write-probe-1").touch()  # of another process, alive or killed
    with pytest.raises(UserError, match=r"synthetic was made by .*: synthesis.rounds was 2, is 3;"):
        _begin("synthesize", workdir, synthesis__rounds=3)
    (workdir / "synthetic" / "config.json").unlink()
    with pytest.raises(UserError, match=r"synthetic holds files but no config.json"):
        _begin("synthesize", workdir)


def test_a_folder_in_which_nothing_was_made_takes_any_config(workdir):
    (workdir / "search" / "architecture.json").unlink()
    assert not _begin("search", workdir, search__score="kl")
    fields = json.loads((workdir / "search" / "config.json").read_text())
    assert fields["search.score"] == "kl"


def test_a_field_that_an_older_version_did_not_have_counts_as_its_default(workdir):
    file = workdir / "search" / "config.json"
    fields = json.loads(file.read_text())
    del fields["search.latency_table"], fields["search.pool"], fields["input teacher"]
    del fields["search.space.channels"]
    file.write_text(json.dumps(fields))
    with pytest.raises(UserError, match=r"other inputs: search\.space\.channels was 16, is 4;"):
        _begin("search", workdir)  # the tiny config's is not the default
    file.write_text(json.dumps(fields | {"search.space.channels": 4}))
    assert not _begin("search", workdir)
    with pytest.raises(UserError, match=r"other inputs: search\.pool was 1, is 2;"):
        _begin("search", workdir, search__pool=2)


def test_a_field_that_is_gone_matters_only_if_it_was_used(workdir):
    file = workdir / "synthetic" / "config.json"
    fields = json.loads(file.read_text())
    file.write_text(json.dumps(fields | {"synthesis.label_entropy": 0.0}))
    assert not _begin("synthesize", workdir)
    file.write_text(json.dumps(fields | {"synthesis.label_entropy": 0.6}))
    with pytest.raises(UserError, match=r"synthesis\.label_entropy was 0\.6"):
        _begin("synthesize", workdir)


@pytest.mark.parametrize(
    ("changed", "reader"),
    [
        ("teacher/teacher.json", "synthesize"),
        ("synthetic/checksums.json", "search"),
        ("search/architecture.json", "train"),
    ],
)
def test_another_input(changed, reader, workdir):
    (workdir / changed).write_text("another one")
    by = changed.partition("/")[0].replace("synthetic", "synthesize")
    with pytest.raises(UserError, match=f"the {by} stage has another result now"):
        _begin(reader, workdir)


def test_a_report_is_made_again_when_there_is_more_to_report(workdir):
    (workdir / "student" / "random").mkdir()
    (workdir / "student" / "random" / "result.json").write_text("another accuracy")
    assert _begin("report", workdir), "it is not up to date"
    assert not _begin("report", workdir), "now it is"


def test_a_report_is_made_again_when_there_are_other_exports(workdir):
    file = workdir / "report" / "config.json"
    fields = json.loads(file.read_text())
    noted = {name: value for name, value in fields.items() if not name.startswith("input export")}
    assert noted != fields
    file.write_text(json.dumps(noted))
    assert not _begin("report", workdir), "an older version noted none"
    card = workdir / "export" / "synthetic" / "onnx" / "export.json"
    card.parent.mkdir(parents=True)
    for content in ("0.97", "0.98"):
        card.write_text(content)
        assert _begin("report", workdir)
        assert not _begin("report", workdir)
    card.with_name("model.onnx").touch()
    assert _begin("report", workdir)


def test_a_checkpoint_counts_by_its_content(tmp_path):
    (tmp_path / "teacher").mkdir()
    file = tmp_path / "a.pth"
    file.write_text("weights")

    def begin(path):
        return _begin("teacher", tmp_path, teacher__checkpoint=str(path))

    assert not begin(file)
    (tmp_path / "teacher" / "teacher.json").touch()
    moved = file.rename(tmp_path / "moved.pth")
    assert not begin(moved)
    moved.write_text("others!")
    with pytest.raises(UserError, match=r"what teacher\.checkpoint names has changed;"):
        begin(moved)
    moved.unlink()
    assert not begin(file), "what was made from it needs it no more"
    with pytest.raises(UserError, match=r"teacher\.checkpoint was '.*a\.pth', is '.*b\.pth'"):
        begin(tmp_path / "b.pth")


def test_a_ported_folder_counts_by_its_weights(tmp_path):
    (tmp_path / "teacher").mkdir()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "teacher.json").write_text("the same card")
        (tmp_path / name / f"{name}.bin").write_text("as Orbax likes it")
    assert not _begin("teacher", tmp_path, teacher__checkpoint=str(tmp_path / "one"))
    (tmp_path / "teacher" / "teacher.json").touch()
    assert not _begin("teacher", tmp_path, teacher__checkpoint=str(tmp_path / "two"))


@pytest.mark.parametrize("name", ["architecture.json", "history.jsonl", "inner/drawing.png"])
def test_a_file_that_changed_after_its_stage_had_finished(name, workdir):
    file = workdir / "search" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("as it was")
    search = STAGES["search"]
    artifact.finish(search, workdir)
    artifact.check_unchanged(search, workdir)
    moved = workdir.rename(workdir.with_name("moved"))
    artifact.check_unchanged(search, moved)
    (moved / "search" / name).write_text("as it WAS")
    with pytest.raises(UserError, match=rf"search/{name} has changed since the stage search fin"):
        artifact.check_unchanged(search, moved)
    (moved / "search" / name).unlink()
    if name != "architecture.json":
        artifact.check_unchanged(search, moved)  # the result is still there
    else:
        with pytest.raises(UserError, match=r"architecture\.json has changed"):
            artifact.check_unchanged(search, moved)


def test_a_mark_of_an_older_version_has_no_checksums(workdir):
    (workdir / "search" / "done.json").write_text('{"stage": "search"}')
    artifact.check_unchanged(STAGES["search"], workdir)


def test_what_was_saved_in_between_is_kept_until_the_stage_is_marked_as_done(tmp_path, monkeypatch):
    """Killed in between, the teacher was trained from the start again."""

    def train(experiment):
        (experiment.workdir.teacher / "working" / "1120").mkdir(parents=True, exist_ok=True)
        (experiment.workdir.teacher / "metrics.jsonl").touch()

    class Killed(Exception):
        pass

    def die(*_):
        raise Killed

    replace_run("teacher", train, monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(artifact, "finish", die)
        with pytest.raises(Killed):
            pipeline.run(tiny.get_config(), tmp_path, ["teacher"])
    assert (tmp_path / "teacher" / "working" / "1120").exists()
    pipeline.run(tiny.get_config(), tmp_path, ["teacher"])
    assert (tmp_path / "teacher" / "done.json").exists()
    assert not (tmp_path / "teacher" / "working").exists()
    (tmp_path / "teacher" / "working").mkdir()  # killed between the mark and the removal
    pipeline.run(tiny.get_config(), tmp_path, ["teacher"])
    assert not (tmp_path / "teacher" / "working").exists()


def test_a_report_that_is_killed_while_it_is_made_again_is_made_once_more(workdir, monkeypatch):
    """The mark of the old one has the checksums of the old one."""

    def change(experiment):
        experiment.workdir.summary.write_text("another summary")
        raise KeyboardInterrupt

    report = STAGES["report"]
    artifact.finish(report, workdir)
    (workdir / "search" / "architecture.json").write_text("another one")
    changed = replace_run("report", change, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        pipeline._run_stage(changed, "report", resolve(tiny.get_config(), workdir))
    assert not report.is_done(workdir)


def test_repair_without_the_stage_that_repairs(tmp_path):
    with pytest.raises(UserError, match="--repair needs the stage synthesize; add it to --stages"):
        pipeline.run(tiny.get_config(), tmp_path, ["search"], repair=True)
