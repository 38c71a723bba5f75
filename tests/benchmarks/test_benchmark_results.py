"""Where a benchmark's numbers go."""

import io
import json
import subprocess

import pytest
from rich.console import Console

from benchmarks import results
from datafree_nas.runtime.errors import UserError

ROWS = [{"name": "a vs b", "ours": 2.0, "ratio": 0.123456}, {"name": "c", "ours": 3.0, "ratio": 1}]


def git(directory, *arguments):
    identity = ["-c", "user.name=n", "-c", "user.email=n@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=directory, check=True, capture_output=True)


def test_report_writes_and_prints(tmp_path):
    screen = io.StringIO()
    path = results.destination(str(tmp_path / "new" / "file.json"))
    results.report(ROWS, {"batch_size": 64}, path, Console(file=screen, width=200))
    written = json.loads(path.read_text())
    assert list(written) == ["command", "commit", "device", "rows"]
    assert written["rows"] == [{**row, "batch_size": 64} for row in ROWS]
    assert written["command"].startswith("python ")
    assert "cores" in written["device"]
    for text in ("a vs b", "0.1235", "batch size 64", str(path)):
        assert text in screen.getvalue()


def test_report_without_a_file_only_prints():
    screen = io.StringIO()
    results.report(ROWS, {}, results.destination(""), Console(file=screen))
    assert "written" not in screen.getvalue()


def test_destination_is_checked_first(tmp_path):
    with pytest.raises(UserError, match="is a directory"):
        results.destination(str(tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"):
        results.destination(str(tmp_path / "file" / "below.json"))


def test_commit(tmp_path):
    assert results.commit(tmp_path) == "unknown"
    (tmp_path / "file").write_text("one")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    clean = results.commit(tmp_path)
    head = ["git", "rev-parse", "--short", "HEAD"]
    assert clean == subprocess.check_output(head, cwd=tmp_path, text=True).strip()
    (tmp_path / "file").write_text("two")
    assert results.commit(tmp_path) == f"{clean}-dirty"
