"""The command that exports networks."""

import re

import pytest

from datafree_nas.runtime import checkpoint
from datafree_nas.students import export
from tests import forks
from tests.students.conftest import images, one_student

__all__ = ["images", "one_student"]


@pytest.fixture
def workdir(one_student, tmp_path):
    """A run that has one student, and no images."""
    folder = tmp_path / "run" / "student" / "real"
    checkpoint.save_variables(folder / "variables", one_student.variables)
    export.write(folder, one_student)
    return tmp_path / "run"


def _run(*flags):
    return forks.run("datafree_nas.export", *flags)


def test_a_student(workdir):
    done = _run(f"--workdir={workdir}", "--format=stablehlo", "--row=real")
    assert done.returncode == 0, done.stderr
    assert "on 8 images of random bytes" in done.stdout
    written = sorted(file.name for file in (workdir / "export" / "real" / "stablehlo").iterdir())
    assert written == ["README.md", "export.json", "model.stablehlo", "use.py"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--format=stablehlo", "--row=rael"],
            "--row=rael is no .*; did you mean 'real'",
        ),
        (["--format=stablehlo"], r"--row=synthetic is no student of .*; known: real"),
        (["--format=stablehlo", "--row=real", "--int8"], "stablehlo has no int8"),
        (["--format=stablehlo", "--row=real", "--teacher"], "name two networks; give one of them"),
        (["--format=stablehlo", "--teacher"], "teacher.json does not exist"),
        (["--format=onxx"], "onnx"),
        (["--format=stablehlo", "--workdir=gs://a/b"], "in a bucket; copy it into a folder first"),
        (["--format=stablehlo", "--row=real", "--out={workdir}"], "is there already and is no ex"),
    ],
)
def test_mistakes(flags, message, workdir):
    done = _run(f"--workdir={workdir}", *(flag.format(workdir=workdir) for flag in flags))
    assert done.returncode == 2
    assert (workdir / "student" / "real" / "student.json").exists()
    assert re.fullmatch(r"error: [^\n]+\n", done.stderr)
    assert re.search(message, done.stderr)
    assert not (workdir / "export").exists()


def test_a_run_without_students(tmp_path):
    done = _run(f"--workdir={tmp_path}", "--format=stablehlo")
    assert done.returncode == 2
    assert "has no students yet; run its train stage" in done.stderr
