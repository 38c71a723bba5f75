"""The whole program, in miniature, through its command line."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.export
import numpy as np
import pytest
import safetensors
import tensorflow_datasets as tfds
from PIL import Image

from datafree_nas import artifact, pipeline, spaces, teachers
from datafree_nas.data import sources
from datafree_nas.experiment import resolve
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import write_json
from datafree_nas.search import stage as search
from datafree_nas.spaces import latency
from datafree_nas.synthesis import stage as synthesize
from tests import tiny
from tests.test_stage import replace_run
from tests.tiers import full

COMMAND = [sys.executable, "-m", "datafree_nas.main", "--config=tests/tiny.py"]
STAGES = ["teacher", "synthetic", "search", "student", "report"]


def _start(workdir, *flags):
    command = [*COMMAND, f"--workdir={workdir}", *flags]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def _run(workdir, *flags):
    process = _start(workdir, *flags)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err[-3000:]
    return out, err


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("tiny") / "run"
    out, err = _run(workdir)
    return workdir, out, err


def test_it_ends_with_the_table_and_the_report(finished):
    workdir, out, err = finished
    assert f"report: {workdir}/report/report.html" in out
    rows = json.loads((workdir / "report" / "summary.json").read_text())["rows"]
    assert [(row["name"], row["data"]) for row in rows] == [
        ("teacher", "real"),
        ("student", "synthetic"),
        ("student", "noise"),
        ("random architecture", "synthetic"),
        ("student", "real"),
    ]
    assert [row["networks"] for row in rows] == [1, 1, 1, 2, 1]
    for row in rows:
        assert 0 <= row["test_accuracy"] <= 1
        for share in (row["test_accuracy"], row["agreement"]):
            assert f"{share:.2%}".rstrip("%") in out
    assert rows[0]["agreement"] == 1
    assert rows[0]["kl"] == pytest.approx(0, abs=1e-5)
    assert rows[0]["test_accuracy"] > 0.3, "even a minute teacher has learned something"
    for folder in STAGES:
        assert (workdir / folder / "done.json").exists()
        assert not list((workdir / folder).glob("**/working/*"))
    for label in ("train teacher", "synthesize round 1", "search · supernet", "evolution"):
        assert label in err, "plain progress lines where there is no terminal"
    assert "steps/s" in err
    assert "s left" in err


def test_metrics_and_tensorboard_are_there(finished):
    workdir, _, _ = finished
    for folder in ("teacher", "synthetic", "search", "student/synthetic"):
        assert (workdir / folder / "metrics.jsonl").stat().st_size
        assert list((workdir / folder / "tensorboard").iterdir())


def test_students_leave_their_weights_for_pytorch(finished):
    workdir, _, _ = finished
    found = json.loads((workdir / "search" / "architecture.json").read_text())["architecture"]
    path = workdir / "student" / "synthetic" / "student.safetensors"
    with safetensors.safe_open(path, "numpy") as file:
        assert file.metadata()["architecture"] == found
        assert file.get_tensor("stem.0.weight").shape == (4, 1, 3, 3)
        assert file.get_tensor("classifier.weight").shape == (10, 16)


def test_a_student_elsewhere_is_as_good_as_in_the_table(finished):
    workdir, _, _ = finished
    test = sources.load(sources.Request("digits", (8, 8, 1)), "test")
    for name in ("synthetic", "real", "noise", "random_1", "random_2"):
        folder = workdir / "student" / name
        student = jax.export.deserialize((folder / "student.stablehlo").read_bytes())
        logits = np.asarray(student.call(test.images))
        result = json.loads((folder / "result.json").read_text())
        assert np.mean(logits.argmax(-1) == test.labels) == result["test_accuracy"]


@pytest.mark.full
def test_a_checkpoint_says_itself_what_it_is(finished, tmp_path):
    workdir, _, _ = finished
    teacher, variables = teachers.load(workdir / "teacher")
    checkpoint = tmp_path / "model.safetensors"
    teachers.export(checkpoint, teacher, variables)
    flags = ["--config.teacher.arch=auto", f"--config.teacher.checkpoint={checkpoint}"]
    _run(tmp_path / "run", "--stages=teacher", *flags)
    card = json.loads((tmp_path / "run" / "teacher" / "teacher.json").read_text())
    assert card["arch"] == "cifar_resnet8"
    assert card["source"]["file"] == "model.safetensors"


@pytest.mark.full
def test_a_teacher_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from dataclasses import replace\n"
        "from datafree_nas import teachers\n"
        "def create(num_classes):\n"
        "    return replace(teachers.create_teacher('cifar_resnet8', num_classes), arch='mine')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    _run(tmp_path / "run", "--stages=teacher", "--config.teacher.factory=mine:create")
    card = json.loads((tmp_path / "run" / "teacher" / "teacher.json").read_text())
    assert card["arch"] == "mine:create"
    assert card["checks"][0] == {"name": "architecture", "passed": True, "message": "mine:create"}


def test_synthetic_images_are_a_tfds_data_set(finished):
    workdir, _, _ = finished
    source = tfds.builder_from_directory(workdir / "synthetic" / "1.0.0").as_data_source("train")
    assert len(source) == 128
    assert source[0]["image"].shape == (8, 8, 1)


def test_the_same_command_again_does_nothing(finished):
    workdir, _, _ = finished
    before = (workdir / "report" / "report.html").stat().st_mtime_ns
    out, _ = _run(workdir)
    assert out.count("done before") == 5
    assert (workdir / "report" / "report.html").stat().st_mtime_ns == before


def test_an_export_is_in_the_report_after_the_same_command(finished, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(finished[0], workdir)
    page = workdir / "report" / "report.html"
    link = "../export/synthetic/stablehlo/model.stablehlo"
    assert f"--workdir={finished[0]} --format=onnx\n" in page.read_text()
    assert link not in page.read_text()
    command = [sys.executable, "-m", "datafree_nas.export", f"--workdir={workdir}"]
    subprocess.run([*command, "--format=stablehlo"], check=True, capture_output=True)
    out, _ = _run(workdir)
    assert out.count("done before") == 4
    assert f'<a href="{link}">model.stablehlo</a>' in page.read_text()
    assert (page.parent / link).is_file()


@pytest.mark.parametrize(
    ("row", "network"),
    [("largest", "largest architecture"), *full(("real_search", "searched on real images"))],
)
def test_a_row_is_added_to_a_finished_run(finished, tmp_path, row, network):
    workdir = tmp_path / "run"
    shutil.copytree(finished[0], workdir)
    kept = workdir / "student" / "synthetic" / "result.json"
    before = kept.stat().st_mtime_ns
    out, err = _run(workdir, f'--config.student.rows=("synthetic","{row}")')
    assert out.count("done before") == 3
    assert f"train {row}" in err
    assert "train synthetic" not in err
    assert kept.stat().st_mtime_ns == before
    assert not list((workdir / "student").glob("**/working/*"))
    rows = json.loads((workdir / "report" / "summary.json").read_text())["rows"]
    assert len(rows) == 6, "with those that were there"
    (added,) = [each for each in rows if each["row"] == row]
    assert added["name"] == network
    assert added["macs"] <= 200_000, "the limit of the search"


def test_held_out_images_are_added_to_a_set_of_an_earlier_version(finished, tmp_path):
    workdir = tmp_path / "run"
    for folder in ("teacher", "synthetic"):
        shutil.copytree(finished[0] / folder, workdir / folder)
    held_out = workdir / "synthetic" / "held_out"
    shard = next(held_out.glob("*/*array_record*"))
    made = shard.read_bytes()
    shutil.rmtree(held_out)
    _forget(workdir, "synthesis.held_out")
    out, err = _run(workdir, "--stages=teacher,synthesize")
    assert out.count("done before") == 1
    assert "synthesize held-out images, round 1" in err
    assert "synthesize round" not in err
    assert shard.read_bytes() == made


def _forget(workdir, field):
    """Removes a field from what the synthesis is made from, and held-out images from its seal."""
    made_from = json.loads((workdir / "synthetic" / "config.json").read_text())
    del made_from[field]
    write_json(workdir / "synthetic" / "config.json", made_from)
    done = json.loads((workdir / "synthetic" / "done.json").read_text())
    done["files"] = {name: v for name, v in done["files"].items() if "held_out" not in name}
    write_json(workdir / "synthetic" / "done.json", done)


def test_another_config_is_refused_and_nothing_is_lost(finished):
    workdir, _, _ = finished
    process = _start(workdir, "--config.synthesis.rounds=3")
    _, err = process.communicate(timeout=100)
    assert process.returncode == 2
    assert "synthesis.rounds was 2, is 3" in err
    assert "Traceback" not in err
    assert (workdir / "report" / "summary.json").exists()


def test_a_latency_table_counts_by_its_content(tmp_path):
    config, made_from = tiny.get_config(), []
    for name, content in (("a", "1"), ("b", "1"), ("c", "2")):
        (tmp_path / name).write_text(content)
        config.search.latency_table = str(tmp_path / name)
        made_from.append(pipeline.made_from(search.STAGE, resolve(config, tmp_path)))
    one, moved, other = made_from
    assert not artifact.differences(one, moved)
    assert list(artifact.differences(one, other)) == ["search.latency_table (content)"]
    assert "search.latency_table" not in pipeline.made_from(
        synthesize.STAGE, resolve(config, tmp_path)
    )


@pytest.mark.full
def test_a_latency_table_of_another_space_is_refused_before_the_synthesis(finished, tmp_path):
    workdir, _, _ = finished
    os.symlink(workdir / "teacher", tmp_path / "teacher")
    space = spaces.create_space("nasbench201", image_size=(8, 8, 1), channels=16, cells=1)
    content = {"fixed": 1.0, "table": np.ones(space.has.shape).tolist()}
    write_json(tmp_path / "table.json", {**latency.header(space), **content})
    process = _start(tmp_path, f"--config.search.latency_table={tmp_path}/table.json")
    _, err = process.communicate(timeout=100)
    assert process.returncode == 2
    assert "of another space: channels is 16, not 4" in err
    assert not list((tmp_path / "synthetic").glob("**/*array_record*"))


@pytest.mark.full
def test_repair_makes_a_missing_and_a_damaged_shard_again(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    root = tmp_path / "run" / "synthetic"
    shards = sorted(root.glob("*/*array_record*")) + sorted(root.glob("held_out/*/*array_record*"))
    assert len(shards) == 6, "two units and one of held-out images in each of two rounds"
    before = [shard.read_bytes() for shard in shards]
    shards[1].unlink()
    shards[2].write_bytes(before[3])
    shards[4].write_bytes(before[3])
    (tmp_path / "run" / "search" / "done.json").unlink()
    with pytest.raises(UserError, match=r"00001-of-00004 is damaged \(it is missing\); add --rep"):
        pipeline.run(tiny.get_config(), tmp_path / "run", ["search"])
    out, _ = _run(tmp_path / "run", "--stages=synthesize", "--repair")
    assert [shard.read_bytes() for shard in shards] == before
    said = [line for line in out.splitlines() if "--repair" in line]
    broken = [shards[i].relative_to(root) for i in (1, 2, 4)]
    assert said == [f"--repair: {shard} is made again" for shard in broken]
    with pytest.raises(UserError, match="has no synthetic images; leave --repair out"):
        pipeline.run(tiny.get_config(), tmp_path / "none", ["teacher", "synthesize"], repair=True)


@pytest.mark.full
def test_search_on_real_images(finished, tmp_path):
    workdir, _, _ = finished
    for folder in ("teacher", "synthetic"):
        os.symlink(workdir / folder, tmp_path / folder)
    _run(tmp_path, "--config.search.data=real", "--stages=teacher,synthesize,search")
    found = json.loads((tmp_path / "search" / "architecture.json").read_text())
    assert (found["data"], found["images"]) == ("real", 1297)


@pytest.mark.full
def test_class_folders_in_another_order_than_the_teachers(finished, tmp_path):
    """The teacher itself tells, before anything is trained; the order that is given is used."""
    workdir, _, _ = finished
    for folder in ("teacher", "synthetic", "search"):
        os.symlink(workdir / folder, tmp_path / folder)
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    (tmp_path / "words.txt").write_text("\n".join(words))
    digits = sources.load(sources.Request("digits", (8, 8, 1)), "test")
    for split in ("train", "test"):
        for number, (image, label) in enumerate(zip(digits.images, digits.labels, strict=True)):
            file = tmp_path / "images" / split / words[label] / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[..., 0]).save(file)
    config = tiny.get_config()
    config.teacher.checkpoint = str(workdir / "teacher")
    config.data.source = f"folder:{tmp_path}/images"
    config.student.rows = ()
    with pytest.raises(UserError, match=r"in another order than the teacher's.*data\.classes"):
        pipeline.run(config, tmp_path, ["train"])
    assert not (tmp_path / "student").exists()
    config.data.classes = str(tmp_path / "words.txt")
    pipeline.run(config, tmp_path, ["train"])
    found, expected = (
        json.loads((place / "student" / "teacher" / "result.json").read_text())["test_accuracy"]
        for place in (tmp_path, workdir)
    )
    assert found == expected


@pytest.mark.parametrize("signum", [signal.SIGTERM, *full(signal.SIGINT)])
def test_a_signal_stops_it_with_a_line_that_says_how_to_go_on(tmp_path, signum):
    process = _start(tmp_path, "--config.teacher.train.steps=1000000", "--stages=teacher")
    for line in process.stderr:
        if "train teacher" in line:
            break
    process.send_signal(signum)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 128 + signum
    last = err.strip().splitlines()[-1]
    assert last.startswith("interrupted: everything done so far is saved")
    assert "again" in last
    assert list((tmp_path / "teacher" / "working").iterdir())


def _kill_until_done(workdir, flags, kills, generator, longest):
    for _ in range(kills):
        process = _start(workdir, *flags)
        time.sleep(generator.uniform(1, longest))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    _run(workdir, *flags)
    return (workdir / "report" / "summary.json").read_bytes()


@pytest.mark.full
def test_killed_at_random_moments_it_ends_the_same(finished, tmp_path):
    workdir, _, _ = finished
    expected = (workdir / "report" / "summary.json").read_bytes()
    generator = np.random.default_rng(0)
    assert _kill_until_done(tmp_path, (), 3, generator, longest=15) == expected


@pytest.mark.parametrize(
    "error",
    [
        jax.errors.JaxRuntimeError(
            "RESOURCE_EXHAUSTED: Out of memory allocating 8000000000 bytes."
        ),
        MemoryError("Unable to allocate 7.45 GiB for an array"),
    ],
)
def test_out_of_memory_says_what_to_lower(error, tmp_path, monkeypatch):
    def fail(experiment):
        raise error

    replace_run("teacher", fail, monkeypatch)
    with pytest.raises(UserError, match=r"out of memory in stage teacher \(.*\); lower"):
        pipeline.run(tiny.get_config(), tmp_path, ["teacher"])


def test_another_error_of_jax_is_a_bug_with_its_traceback(tmp_path, monkeypatch):
    def fail(experiment):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    replace_run("teacher", fail, monkeypatch)
    with pytest.raises(jax.errors.JaxRuntimeError):
        pipeline.run(tiny.get_config(), tmp_path, ["teacher"])
