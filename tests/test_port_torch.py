"""The command itself, in this process: what it prints, what it writes, what it refuses."""

import json
import sys

import numpy as np
import pytest
import torch
from absl import flags
from absl.testing import flagsaver

from datafree_nas import port_torch, teachers
from datafree_nas.interop import torch_file
from tests.teachers import originals

MODEL = originals.randomize(originals.build("cifar_resnet8", (32, 32), 10))


@pytest.fixture
def run(tmp_path, capsys):
    """Runs the command on a checkpoint; gives its status, and what it printed to both outputs."""
    torch.save(MODEL.state_dict(), tmp_path / "net.pth")

    def command(*given):
        given = {"checkpoint": str(tmp_path / "net.pth"), "arch": "cifar_resnet8"} | dict(given)
        if not flags.FLAGS.is_parsed():
            flags.FLAGS([sys.argv[0], f"--checkpoint={given['checkpoint']}"])
        with flagsaver.flagsaver(**given):
            try:
                port_torch.main([])
            except SystemExit as stop:
                return stop.code, capsys.readouterr()
        return 0, capsys.readouterr()

    return command


def _fails(result):
    status, printed = result
    assert status == 2
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    return printed.err


def _card(directory):
    return json.loads((directory / "teacher.json").read_text())


def test_it_says_what_it_assumes(run, tmp_path):
    status, printed = run(("out", str(tmp_path / "out")))
    assert status == 0
    lines = [" ".join(line.split()) for line in printed.out.splitlines()]
    assert lines[1:5] == [
        "classes 10 from the checkpoint's head",
        "image_size 32,32,3 assumed: as published, see --image_size",
        "mean 0.485,0.456,0.406 assumed: as published, see --mean",
        "std 0.229,0.224,0.225 assumed: as published, see --std",
    ]
    assert lines[5].startswith("strides, padding, pooling, activations, epsilon: assumed")


def test_what_is_given_is_said_to_be(run):
    status, printed = run(
        ("check", True), ("mean", ["0.5", "0.4", "0.3"]), ("std", ["0.2", "0.2", "0.2"])
    )
    assert status == 0
    lines = [" ".join(line.split()) for line in printed.out.splitlines()]
    assert "mean 0.5,0.4,0.3 given by --mean" in lines
    assert lines[-1] == "fits cifar_resnet8 with 10 classes; nothing was written"


def test_logits_of_the_original(run, tmp_path):
    x = np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype(np.float32)
    y = originals.logits(MODEL, x)
    np.savez(tmp_path / "right.npz", x=x, y=y)
    np.savez(tmp_path / "wrong.npz", x=x, y=y[:, ::-1])
    out = ("out", str(tmp_path / "out"))
    line = _fails(run(out, ("check_logits", str(tmp_path / "wrong.npz"))))
    assert "cifar_resnet8 is not the network that gave them" in line
    assert not (tmp_path / "out").exists()
    status, printed = run(out, ("check_logits", str(tmp_path / "right.npz")))
    assert status == 0
    assert "\nlogits differ by " in printed.out
    assert _card(tmp_path / "out")["source"]["logits"].endswith("top-1 agrees on 100.0%")
    assert "assumed, as in" not in printed.out


def test_class_names(run, tmp_path):
    out, names = tmp_path / "out", tmp_path / "names.txt"
    for wrong in ("one\ntwo\n", "a\n\nb"):
        names.write_text(wrong)
        line = _fails(run(("out", str(out)), ("class_names", str(names))))
        assert "so 10 names are needed, one a line" in line
        assert not out.exists()
    _fails(run(("out", str(out)), ("class_names", str(tmp_path / "none.txt"))))
    names.write_text("\n".join("abcdefghij") + "\n")
    assert run(("out", str(out)), ("class_names", str(names)))[0] == 0
    assert _card(out)["class_names"] == [*"abcdefghij"]


def test_a_directory_with_something_else(run, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").touch()
    assert "holds something else" in _fails(run(("out", str(out))))
    assert [path.name for path in out.iterdir()] == ["notes.txt"]
    (out / "notes.txt").unlink()
    for _ in range(2):  # the same command again is no mistake
        assert run(("out", str(out)))[0] == 0
    torch.save({"other": torch.ones(1)}, tmp_path / "other.pth")
    other = ("checkpoint", str(tmp_path / "other.pth"))
    assert "holds something else" in _fails(run(("out", str(out)), other))
    assert "is a file" in _fails(run(("out", str(tmp_path / "net.pth"))))


def test_the_home_directory_and_paths_as_text(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run(("checkpoint", "~/net.pth"), ("out", "~/out"))[0] == 0
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
    out = ("out", str(tmp_path / "out"))
    line = _fails(run(out, ("ignore", ["queue"])))
    assert "2 unexpected: more.bias, projector.weight; if they are not, say --ignore" in line
    status, printed = run(out, ("ignore", ["queue,projector.*", "more.*"]))
    assert status == 0
    assert "ignored, no part of the network: queue, projector.weight, more.bias" in printed.out
