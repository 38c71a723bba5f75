"""The command itself: what it prints, what it writes, what it refuses."""

import json

import numpy as np
import pytest
import torch

from datafree_nas import teachers
from datafree_nas.interop import torch_file
from tests import forks
from tests.teachers import originals

MODEL = originals.randomize(originals.build("cifar_resnet8", (32, 32), 10))


@pytest.fixture
def run(tmp_path):
    """Runs the command on a checkpoint with further flags, and returns the finished process."""
    torch.save(MODEL.state_dict(), tmp_path / "net.pth")

    def command(*flags, **environment):
        first = [f"--checkpoint={tmp_path}/net.pth", "--arch=cifar_resnet8"]
        return forks.run("datafree_nas.port_torch", *first, *flags, **environment)

    return command


def _fails(done):
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def _succeeds(done):
    assert done.returncode == 0, done.stderr
    return done.stdout


def _card(directory):
    return json.loads((directory / "teacher.json").read_text())


def test_it_says_what_it_assumes(run, tmp_path):
    printed = _succeeds(run(f"--out={tmp_path}/out"))
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    assert lines[1:5] == [
        "classes 10 from the checkpoint's head",
        "image_size 32,32,3 assumed: as published, see --image_size",
        "mean 0.485,0.456,0.406 assumed: as published, see --mean",
        "std 0.229,0.224,0.225 assumed: as published, see --std",
    ]
    assert lines[5].startswith("strides, padding, pooling, activations, epsilon: assumed")


def test_what_is_given_is_said_to_be(run):
    printed = _succeeds(run("--check", "--mean=0.5,0.4,0.3", "--std=0.2,0.2,0.2"))
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    assert "mean 0.5,0.4,0.3 given by --mean" in lines
    assert lines[-1] == "fits cifar_resnet8 with 10 classes; nothing was written"


def test_logits_of_the_original(run, tmp_path):
    x = np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype(np.float32)
    y = originals.logits(MODEL, x)
    np.savez(tmp_path / "right.npz", x=x, y=y)
    np.savez(tmp_path / "wrong.npz", x=x, y=y[:, ::-1])
    out = f"--out={tmp_path}/out"
    line = _fails(run(out, f"--check_logits={tmp_path}/wrong.npz"))
    assert "cifar_resnet8 is not the network that gave them" in line
    assert not (tmp_path / "out").exists()
    printed = _succeeds(run(out, f"--check_logits={tmp_path}/right.npz"))
    assert "logits differ by " in printed
    assert _card(tmp_path / "out")["source"]["logits"].endswith("top-1 agrees on 100.0%")
    assert "assumed, as in" not in printed


def test_class_names(run, tmp_path):
    out, names = tmp_path / "out", tmp_path / "names.txt"
    for wrong in ("one\ntwo\n", "a\n\nb"):
        names.write_text(wrong)
        line = _fails(run(f"--out={out}", f"--class_names={names}"))
        assert "so 10 names are needed, one a line" in line
        assert not out.exists()
    _fails(run(f"--out={out}", f"--class_names={tmp_path}/none.txt"))
    names.write_text("\n".join("abcdefghij") + "\n")
    assert run(f"--out={out}", f"--class_names={names}").returncode == 0
    assert _card(out)["class_names"] == [*"abcdefghij"]


def test_a_directory_with_something_else(run, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").touch()
    assert "holds something else" in _fails(run(f"--out={out}"))
    assert [path.name for path in out.iterdir()] == ["notes.txt"]
    (out / "notes.txt").unlink()
    for _ in range(2):  # the same command again is no mistake
        assert run(f"--out={out}").returncode == 0
    torch.save({"other": torch.ones(1)}, tmp_path / "other.pth")
    other = f"--checkpoint={tmp_path}/other.pth"
    assert "holds something else" in _fails(run(f"--out={out}", other))
    assert "is a file" in _fails(run(f"--out={tmp_path}/net.pth"))


def test_the_home_directory_and_paths_as_text(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run("--checkpoint=~/net.pth", "--out=~/out", HOME=str(tmp_path)).returncode == 0
    teacher, variables = teachers.load("~/out")
    again, _ = teachers.load(str(tmp_path / "out"))
    assert again == teacher
    teachers.save("~/copy", teacher, variables, {})
    teachers.export(str(tmp_path / "back.safetensors"), teacher, variables)
    found = torch_file.read("~/back.safetensors")["linear.bias"].load()
    np.testing.assert_array_equal(found, MODEL.state_dict()["linear.bias"])


def test_patterns_to_ignore(run, tmp_path):
    beside = {"queue": torch.ones(3), "projector.weight": torch.ones(3), "more.bias": torch.ones(3)}
    torch.save(MODEL.state_dict() | beside, tmp_path / "net.pth")
    out = f"--out={tmp_path}/out"
    line = _fails(run(out, "--ignore=queue"))
    assert "2 unexpected: more.bias, projector.weight; if they are not, say --ignore" in line
    printed = _succeeds(run(out, "--ignore=queue,projector.*", "--ignore=more.*"))
    assert "ignored, no part of the network: queue, projector.weight, more.bias" in printed


def _foreign_file(variables):
    (variables / "notes.txt").write_text("mine")


def _changed_file(variables):
    file = next(path for path in sorted(variables.iterdir()) if path.is_file())
    file.write_text("mine")


def _link(variables):
    moved = variables.with_name("moved")
    variables.rename(moved)
    variables.symlink_to(moved)


@pytest.mark.parametrize("change", [_foreign_file, _changed_file, _link])
def test_what_others_wrote_is_not_removed(change, run, tmp_path):
    out = tmp_path / "out"
    _succeeds(run(f"--out={out}"))
    change(out / "variables")
    before = {path: path.is_file() and path.read_bytes() for path in sorted(out.rglob("*"))}
    assert "variables holds other files than were written there" in _fails(run(f"--out={out}"))
    assert {path: path.is_file() and path.read_bytes() for path in sorted(out.rglob("*"))} == before


def test_a_file_beside_an_earlier_port_stays(run, tmp_path):
    _succeeds(run(f"--out={tmp_path}/out"))
    (tmp_path / "out" / "notes.txt").write_text("mine")
    _succeeds(run(f"--out={tmp_path}/out"))
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["notes.txt", "teacher.json", "variables"]
