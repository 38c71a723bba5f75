import json
import resource

import pytest

from datafree_nas.runtime import files
from datafree_nas.runtime.errors import UserError


def test_write_leaves_the_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    for value in ({"x": [1, 2.5, None]}, {"x": "again"}):
        files.write_json(path, value)
        assert files.read_json(path) == value
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_dies_halfway_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    files.write_json(path, "old")

    def half(self, content):
        with self.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(type(path), "write_bytes", half)
    with pytest.raises(KeyboardInterrupt):
        files.write_json(path, "new")
    assert files.read_json(path) == "old"


def test_jsonl_leaves_out_a_torn_last_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    assert files.read_jsonl(path) == []
    rows = [{"step": i, "text": "ä\n"} for i in range(3)]
    files.write_jsonl(path, rows)
    assert files.read_jsonl(path) == rows
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert files.read_jsonl(path) == rows[:2]
    path.write_bytes(whole[:5])
    assert files.read_jsonl(path) == []


def test_read_json_says_what_is_wrong(tmp_path):
    with pytest.raises(UserError, match=r"a\.json does not exist"):
        files.read_json(tmp_path / "a.json")
    (tmp_path / "b.json").write_text(json.dumps([1, 2])[:-1])
    with pytest.raises(UserError, match=r"b\.json is not valid JSON"):
        files.read_json(tmp_path / "b.json")


def test_make_directory(tmp_path):
    assert list(files.make_directory(tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write to .*file.*choose another place"):
        files.make_directory(tmp_path / "file" / "below")


def test_a_limit_on_the_size_of_files(tmp_path):
    """As `ulimit -f` sets it."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(UserError, match=r"cannot write .*/a: File too large\."):
            files.write_bytes(tmp_path / "a", bytes(2000))
        with pytest.raises(UserError, match=r"a file may have 0\.0 MB \(ulimit -f\), 11\.0 MB are"):
            files.check_space(tmp_path / "a", 10_000_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "a").exists()
