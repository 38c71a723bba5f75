"""The list of files in the report: sizes, links, and programs that work."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import jax.numpy as jnp
import numpy as np
import pytest

from datafree_nas.exports import formats
from datafree_nas.report import files
from datafree_nas.report.build import write_report
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import make_directory, read_json, write_bytes, write_json
from datafree_nas.students import export
from tests.report import written
from tests.students.conftest import images, one_student

__all__ = ["images", "one_student"]

RESULT = {"name": "student", "data": "synthetic", "test_accuracy": None, "agreement": 0.9}
RESULT |= {"macs": 1, "params": 1, "seed": 3, "order": 1}
CARD = {"format": "onnx", "int8": False, "agreement": None, "file": "model.onnx"}
CARD |= {"checked_on": 512, "checked_kind": "held-out synthetic images"}
WRITTEN = ("student.stablehlo", "student.py", "student.safetensors")


def _student(workdir: Path, name: str) -> None:
    folder = make_directory(workdir / "student" / name)
    data = "noise" if name == "noise" else "synthetic"
    write_json(folder / "result.json", RESULT | {"row": name, "data": data})
    for file in WRITTEN:
        write_bytes(folder / file, bytes(32_100))


def _export(workdir: Path, name: str, kind: str, **changes) -> Path:
    folder = make_directory(workdir / "export" / name / kind)
    card = CARD | changes
    write_json(folder / "export.json", card)
    write_bytes(folder / card["file"], bytes(512))
    write_bytes(folder / "use.py", b"")
    return folder


@pytest.fixture
def run(tmp_path):
    """A run with a family of two, a student to compare with, and two exports."""
    workdir = tmp_path / "a run"
    for name in ("noise", "synthetic", "family_2"):
        _student(workdir, name)
    written.teacher(workdir)
    _export(workdir, "synthetic", "onnx")
    _export(workdir, "teacher", "onnx_int8", int8=True, agreement=0.984)
    return workdir


def _section(workdir: Path) -> str:
    html = (workdir / "report" / "report.html").read_text()
    assert written.Page(html).open == []
    return re.search(r'<section class="files">.*?</section>', html, flags=re.DOTALL)[0]


def _blocks(workdir: Path) -> dict[str, str]:
    """HTML of each network by its title."""
    found = re.findall(r"<details.*?</details>", _section(workdir), flags=re.DOTALL)
    return {re.search(r"<summary>([^<]*)", block)[1].strip(): block for block in found}


def test_the_formats_are_those_of_the_exports():
    assert tuple(files.FORMATS) == tuple(formats.FORMATS)
    able = tuple(name for name, each in formats.FORMATS.items() if each.quantize)
    assert able == files.QUANTIZED


def test_results_come_first_then_the_teacher(run):
    write_report(run, written.CONFIG)
    blocks = _blocks(run)
    results = ["student (the pick) · synthetic", "student · synthetic", "teacher"]
    assert list(blocks) == [*results, "student · noise"]
    assert [title for title, html in blocks.items() if "<details open>" in html] == results


def test_links_lead_from_the_report_to_the_files(run):
    write_report(run, written.CONFIG)
    links = re.findall(r'<a href="([^"]*)">([^<]*)</a> <span>([^<]*)</span>', _section(run))
    assert len(links) == 3 * len(WRITTEN) + 2 * 2, "three students and two exports"
    for link, name, _ in links:
        file = run / "report" / unquote(link)
        assert file.is_file()
        assert file.name == name
    sizes = {name: size for _, name, size in links}
    assert (sizes["student.py"], sizes["model.onnx"]) == ("32.1 kB", "512 B")


def test_what_is_there_and_what_is_not(run):
    write_report(run, written.CONFIG, "runs/mine")
    blocks = _blocks(run)
    pick, teacher = blocks["student (the pick) · synthetic"], blocks["teacher"]
    assert "<p>ONNX, float32</p>" in pick
    assert "python use.py images.npy" in pick
    start = "python -m datafree_nas.export --workdir=runs/mine"
    assert re.findall(rf"^.*({start}.*?)(?:</code>.*)?$", pick, flags=re.MULTILINE) == [
        f"{start} --format=onnx --int8",
        f"{start} --format=tflite",
        f"{start} --format=tflite --int8",
        f"{start} --format=coreml",
        f"{start} --format=torch",
    ]
    stated = "ONNX, int8, same top class as float32 on 98.4 % of 512 held-out synthetic images"
    assert stated in teacher
    assert f"{start} --teacher --format=onnx\n" in teacher
    assert f"{start} --teacher --format=stablehlo\n" in teacher
    assert "--format=onnx --int8" not in teacher


def test_a_package_that_was_not_run(run):
    changes = {"format": "coreml", "file": "model.mlpackage", "not_run": "Core ML needs macOS"}
    folder = run / "export" / "synthetic" / "coreml"
    weights = make_directory(folder / "model.mlpackage" / "weights")
    write_bytes(weights / "weight.bin", bytes(3000))
    write_bytes(weights.parent / "Manifest.json", bytes(500))
    write_json(folder / "export.json", CARD | changes)
    for name in ("use.py", "check.npz"):
        write_bytes(folder / name, b"")
    write_report(run, written.CONFIG)
    pick = _blocks(run)["student (the pick) · synthetic"]
    assert "<p>Core ML, float32, not run: Core ML needs macOS</p>" in pick
    found = re.findall(r'<a href="[^"]*/coreml/[^"]*">([^<]*)</a> <span>([^<]*)</span>', pick)
    assert found == [("model.mlpackage", "3.50 kB"), ("use.py", "0 B"), ("check.npz", "0 B")]


def test_code_of_the_user_is_part_of_the_commands(run):
    config = written.CONFIG | {"teacher": {"factory": "mine:net"}}
    config |= {"search": {"space": {"name": "mine:Space"}}}
    found = files.owners(run, "my runs/1", {"family_2": RESULT}, config)
    student, teacher = (shlex.split(owner.commands[0]) for owner in found)
    start = ["python", "-m", "datafree_nas.export", "--workdir=my runs/1"]
    assert student == [*start, "--row=family_2", "--space=mine:Space", "--format=onnx"]
    assert teacher == [*start, "--teacher", "--factory=mine:net", "--format=onnx"]


def test_an_export_whose_file_is_gone_is_not_listed(run):
    (run / "export" / "synthetic" / "onnx" / "model.onnx").unlink()
    write_report(run, written.CONFIG)
    assert "ONNX, float32" not in _section(run)


def test_a_space_without_a_pytorch_source_has_no_entry_for_it(run):
    (run / "student" / "synthetic" / "student.py").unlink()
    write_report(run, written.CONFIG)
    assert "PyTorch" not in _blocks(run)["student (the pick) · synthetic"]


@pytest.mark.parametrize("file", ["../../../secret", "..", "", 3])
def test_a_card_that_names_a_file_elsewhere_is_damaged(file, run):
    card = run / "export" / "synthetic" / "onnx" / "export.json"
    write_json(card, read_json(card) | {"file": file})
    with pytest.raises(UserError, match=r"export\.json: 'file' is .*, must be the name of a file"):
        write_report(run, written.CONFIG)


def test_the_programs_of_a_student_work(one_student, images, tmp_path):
    folder = make_directory(tmp_path / "student" / "synthetic")
    write_json(folder / "result.json", RESULT)
    export.write(folder, one_student)
    np.save(folder / "images.npy", images)
    (owner,) = files.owners(tmp_path, "run", {"synthetic": RESULT}, written.CONFIG)
    assert [entry.what for entry in owner.entries] == ["StableHLO, float32", "PyTorch, float32"]
    expected = np.asarray(one_student.logits(jnp.asarray(images)))
    for entry in owner.entries:
        end = "np.save('logits.npy', getattr(logits, 'detach', lambda: logits)())"
        code = "import sys; sys.path.insert(0, '.'); sys.modules['datafree_nas'] = None\n"
        command = [sys.executable, "-I", "-c", f"{code}{entry.use}\n{end}"]
        subprocess.run(command, cwd=folder, check=True)
        np.testing.assert_allclose(np.load(folder / "logits.npy"), expected, rtol=0, atol=1e-5)
