"""docs/students.md and the pages below it: every snippet and every export command works."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from datafree_nas import teachers
from datafree_nas.data.images import ImageSet
from datafree_nas.exports import network
from datafree_nas.runtime import checkpoint
from datafree_nas.runtime.workdir import Workdir
from datafree_nas.stage import DONE
from datafree_nas.students import export
from datafree_nas.synthesis import store
from tests import forks
from tests.students.conftest import ALONE, make_student, snippets
from tests.tiers import full

DOCS = Path(__file__).parents[1] / "docs"
INDEX = DOCS / "students.md"
PAGES = {page.stem: page for page in (INDEX, *sorted((DOCS / "students").glob("*.md")))}
COMMAND = ["python", "-m", "datafree_nas.export", "--workdir=runs/digits_spos"]
# folder of the workdir in which the snippets of a page are run, and whether they do so without this
# package
PLACES = {
    "students": (".", True),
    "pytorch": ("student/synthetic", True),
    "stablehlo": ("student/synthetic", True),
    "onnx": ("export/synthetic/onnx", True),
    "tflite": ("export/synthetic/tflite", True),
    "coreml": ("export/synthetic/coreml", True),
    "torch_export": ("export/synthetic/torch", True),
    "int8": (".", True),
    "jax": (".", False),
}
TFLITE = pytest.param("tflite", marks=pytest.mark.tflite)
COREML = pytest.param("coreml", marks=pytest.mark.coreml)
MAC = sys.platform == "darwin"
SIZE, CLASSES = (8, 8, 1), 7


def _commands(page: str) -> list[list[str]]:
    """The export commands of a page, as lists of their words."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGES[page].read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line) for line in lines if not line.startswith("pip install ")]


@pytest.fixture(scope="module")
def run(tmp_path_factory, random_variables):
    """A run with a teacher and a student, both untrained, and random images as synthetic ones."""
    workdir = Workdir(tmp_path_factory.mktemp("docs") / "runs" / "digits_spos")
    student = make_student("nasbench201", random_variables)
    folder = workdir.students / "synthetic"
    checkpoint.save_variables(folder / "variables", student.variables)
    export.write(folder, student)
    teacher = teachers.create_teacher(
        "cifar_resnet8", CLASSES, image_size=SIZE, mean=(0.3,), std=(0.4,)
    )
    image = jax.ShapeDtypeStruct((1, *SIZE), np.float32)
    variables = random_variables(teacher.model, image)
    teachers.save(workdir.teacher, teacher, variables, {"trained_on": "nothing"})
    for number, root in enumerate((workdir.synthetic, workdir.held_out)):
        images = np.random.default_rng(number).integers(0, 256, (64, *SIZE), np.uint8)
        logits = np.zeros((64, CLASSES), np.float32)
        zeros, layout = np.zeros(64, np.int32), store.Layout(root, 1)
        store.write_shard(layout.shard(0), ImageSet(images, zeros, logits, zeros), 0, teacher)
        store.write_metadata(layout, teacher, [64])
        store.write_checksums(layout)
    (workdir.synthetic / DONE).write_text("{}")
    return workdir


def _export(run: Workdir, words: list[str]) -> None:
    """Runs an export command of the docs, with the test's workdir in place of theirs."""
    assert words[: len(COMMAND)] == COMMAND
    done = forks.run("datafree_nas.export", f"--workdir={run.root}", *words[len(COMMAND) :])
    assert done.returncode == 0, done.stderr
    kind = "_int8" if "--int8" in words else ""
    (name,) = [word.removeprefix("--format=") for word in words if word.startswith("--format=")]
    owner = "teacher" if "--teacher" in words else "synthetic"
    folder = run.root / "export" / owner / f"{name}{kind}"
    assert str(folder) in done.stdout
    finding = "of 64 held-out" if kind else "on 64 held-out synthetic images"
    if name == "coreml" and not MAC:
        finding = "not run: Core ML needs macOS"
    assert finding in done.stdout


def _snippet(code: str, folder: Path, alone: bool) -> str:
    """Runs a program in a folder; returns what it has printed."""
    start = f"{ALONE}\nsys.path.insert(0, '.')" if alone else ""
    flags = ["-I"] if alone else []
    end = "if 'logits' in globals(): np.save('logits.npy', logits)"
    done = subprocess.run(
        [sys.executable, *flags, "-c", f"{start}\n{code}\n{end}"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _unable(code: str, folder: Path) -> None:
    """Runs a program that comes, without a mistake, to what only a Mac can do."""
    command = [sys.executable, "-c", f"{ALONE}\n{code}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Model prediction is only supported on macOS" in done.stderr.splitlines()[-1]


def test_every_page_is_tested_and_in_the_index():
    assert PLACES.keys() == PAGES.keys()
    for name in PAGES.keys() - {"students"}:
        assert f"(students/{name}.md)" in INDEX.read_text()


@pytest.mark.parametrize(
    "page",
    [
        "students",
        "pytorch",
        "stablehlo",
        "jax",
        *full("onnx", "torch_export", "int8"),
        TFLITE,
        COREML,
    ],
)
def test_commands_and_snippets(page, run, random_variables):
    for words in _commands(page):
        if page == "tflite" or "--format=tflite" not in words:
            _export(run, words)
    folder, alone = run.root / PLACES[page][0], PLACES[page][1]
    images = np.random.default_rng(5).integers(0, 256, (5, *SIZE), np.uint8)
    np.save(folder / "images.npy", images)
    found = folder / "logits.npy"
    for code in snippets(PAGES[page]):
        found.unlink(missing_ok=True)
        if page == "coreml" and not MAC:
            _unable(code, folder)
            continue
        printed = _snippet(code, folder, alone)
        if page == "int8":
            assert 0 <= float(printed) <= 1
        elif "logits" in code:
            expected = network.of_student(run, "synthetic").compute(images)
            scale = np.abs(expected).max()
            np.testing.assert_allclose(np.load(found), expected, rtol=0, atol=1e-4 * scale)
        else:
            assert "export.write(" in code


@pytest.mark.tflite
def test_the_tflite_commands_of_int8(run):
    commands = [words for words in _commands("int8") if "--format=tflite" in words]
    assert len(commands) == 2
    for words in commands:
        _export(run, words)


def test_other_files_are_written_anew(run):
    (code,) = [code for code in snippets(PAGES["jax"]) if "export.write(" in code]
    file = run.root / "student" / "synthetic" / "student.stablehlo"
    before = file.read_bytes()
    file.unlink()
    _snippet(code, run.root, alone=False)
    assert file.read_bytes() == before
