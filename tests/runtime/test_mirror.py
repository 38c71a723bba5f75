"""A workdir in a bucket that is a dictionary."""

import json
import subprocess
import tempfile
from typing import ClassVar

import fsspec
import pytest
from etils import epath
from fsspec.implementations.memory import MemoryFileSystem

from datafree_nas import pipeline
from datafree_nas.runtime import lease, mirror
from datafree_nas.runtime.errors import UserError
from tests import tiny


class Bucket(MemoryFileSystem):
    """Google's storage, as far as we use it."""

    protocol = ("gs", "gcs")
    store: ClassVar = {}
    pseudo_dirs: ClassVar = [""]
    broken = False

    @classmethod
    def _strip_protocol(cls, path):
        return MemoryFileSystem._strip_protocol(str(path).removeprefix("gs://"))

    def _open(self, path, mode="rb", **settings):
        if self.broken and "w" in mode:
            raise OSError(403, "Forbidden")
        return super()._open(path, mode, **settings)


@pytest.fixture(autouse=True)
def bucket(monkeypatch):
    monkeypatch.setattr(lease, "_SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(lease, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(lease, "_DEAD_SECONDS", 0.1)
    epath.backend.fsspec_backend._get_filesystem.cache_clear()
    fsspec.register_implementation("gcs", Bucket, clobber=True)
    Bucket.store.clear()
    Bucket.pseudo_dirs[:] = [""]
    Bucket.broken = False
    yield Bucket
    epath.backend.fsspec_backend._get_filesystem.cache_clear()
    fsspec.register_implementation("gcs", "gcsfs.GCSFileSystem", clobber=True)


def _files(below="/b/run/"):
    return {name.removeprefix(below): f.getvalue() for name, f in Bucket.store.items()}


def _leave_a_file(before=lambda: None):
    with mirror.workdir("gs://b/run") as folder:
        before()
        (folder / "a").write_text("1")
        mirror.push(folder / "a")


def test_a_path_is_itself(tmp_path):
    with mirror.workdir(str(tmp_path)) as folder:
        assert folder == tmp_path
        mirror.push(tmp_path)
        mirror.exchange(tmp_path)


def test_files_come_and_go_in_order():
    with mirror.workdir("gs://b/run") as folder:
        (folder / "a").mkdir()
        (folder / "a" / "one").write_text("1")
        (folder / "a" / ".hidden").write_text("no")
        mirror.push(folder / "a")
        (folder / "two").write_text("2")
        mirror.push(folder / "two")
        mirror.flush()
        assert _files().keys() == {"a/one", "two", lease.FILE}
        mirror.remove(folder / "a")
        mirror.push(folder / "two")
    assert _files() == {"two": b"2"}
    with mirror.workdir("gs://b/run") as folder:
        assert (folder / "two").read_text() == "2"
        (folder / "two").write_text("two")
        mirror.push(folder / "two")
    assert _files() == {"two": b"two"}


def test_what_others_have_written_is_there_after_an_exchange():
    with mirror.workdir("gs://b/run") as folder:
        epath.Path("gs://b/run/shards").mkdir(parents=True)
        epath.Path("gs://b/run/shards/7").write_text("seven")
        (folder / "shards").mkdir()
        (folder / "shards" / "8").write_text("eight")
        mirror.exchange(folder / "shards")
        assert {p.name for p in (folder / "shards").iterdir()} == {"7", "8"}
        assert _files()["shards/8"] == b"eight"


def _lock(**changes):
    """What the run of another machine has left."""
    held = {"run": "another", "host": "far", "machine": "far", "process": 1, "renewals": 1}
    epath.Path("gs://b/run").mkdir(parents=True, exist_ok=True)
    epath.Path(f"gs://b/run/{lease.FILE}").write_text(json.dumps(held | changes))


def test_one_run_at_a_time(monkeypatch):
    monkeypatch.setattr(lease, "_RENEW_SECONDS", 0.02)
    with mirror.workdir("gs://b/run"):
        with pytest.raises(UserError, match=r"another run is at work in gs://b/run, on "):
            _leave_a_file()
        assert lease.FILE in _files()


def test_the_lock_of_a_run_that_died_on_another_machine_is_waited_for(capsys):
    _lock()
    with mirror.workdir("gs://b/run"):
        assert json.loads(_files()[lease.FILE])["run"] != "another"
    assert _files() == {}
    assert "gs://b/run was last written by a run on far; seeing for 0 s" in capsys.readouterr().err


def test_the_lock_of_a_process_of_this_machine_that_is_no_more(monkeypatch):
    monkeypatch.setattr(lease, "_DEAD_SECONDS", 1000.0)
    with subprocess.Popen(["true"]) as ended:
        pass
    _lock(machine=lease._this_machine(), process=ended.pid)
    _leave_a_file()
    assert _files() == {"a": b"1"}


@pytest.mark.parametrize("content", ["", "[1]", "null", '{"run": [], "process": "x"}', "[" * 9000])
def test_a_lock_that_nobody_understands(content):
    _lock()
    epath.Path(f"gs://b/run/{lease.FILE}").write_text(content)
    _leave_a_file()
    assert _files() == {"a": b"1"}


def test_a_run_that_was_paused_writes_nothing_beside_its_successor():
    def is_taken_over():
        epath.Path(f"gs://b/run/{lease.FILE}").unlink()
        _lock()

    with pytest.raises(UserError, match="another run has taken over gs://b/run, on far"):
        _leave_a_file(before=is_taken_over)
    assert _files().keys() == {lease.FILE}
    assert json.loads(_files()[lease.FILE])["run"] == "another"


def test_nothing_is_removed_after_something_could_not_be_copied(bucket):
    """The state of a loop is removed when its result is there."""
    with mirror.workdir("gs://b/run") as folder:
        (folder / "state").write_text("1120 steps")
        mirror.push(folder / "state")

    def fail():
        with mirror.workdir("gs://b/run") as folder:
            bucket.broken = True
            (folder / "result").write_text("done")
            mirror.push(folder / "result")
            mirror.remove(folder / "state")

    with pytest.raises(UserError, match="Forbidden"):
        fail()
    assert _files()["state"] == b"1120 steps"


def test_folders_of_processes_that_were_killed_are_removed(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(mirror, "_NEW_SECONDS", -1.0)
    (tmp_path / "datafree_nas_of_somebody").mkdir()  # without the file that says it is a mirror
    killed = tmp_path / "datafree_nas_killed"
    killed.mkdir()
    (killed / ".owned").touch()
    with mirror.workdir("gs://b/one") as one, mirror.workdir("gs://b/two"):
        assert one.exists()
        assert not killed.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["datafree_nas_of_somebody"]


def test_a_bucket_that_cannot_be_written(bucket):
    bucket.broken = True
    with pytest.raises(UserError, match=r"cannot work in gs://b/run .*Forbidden.* permissions"):
        _leave_a_file()
    bucket.broken = False
    with pytest.raises(UserError, match=r"cannot write to gs://b/run .*Forbidden.* is kept"):
        _leave_a_file(before=lambda: setattr(bucket, "broken", True))


@pytest.mark.full
def test_a_run_in_a_bucket_stops_and_goes_on_on_another_machine(monkeypatch):
    """Teacher and images; the second machine has nothing but the bucket."""
    config = tiny.get_config()
    with mirror.workdir("gs://b/run") as folder:
        pipeline.run(config, folder, ["teacher"])
    assert "teacher/done.json" in _files()
    assert not [name for name in _files() if "working" in name]
    with mirror.workdir("gs://b/run") as folder:
        pipeline.run(config, folder, ["teacher", "synthesize"])
    first = {n: c for n, c in _files().items() if "array_record" in n}
    assert len(first) == 6
    removed = next(iter(first))
    epath.Path(f"gs://b/run/{removed}").unlink()
    epath.Path("gs://b/run/synthetic/done.json").unlink()
    with mirror.workdir("gs://b/run") as folder:
        pipeline.run(config, folder, ["teacher", "synthesize"])
    assert {n: c for n, c in _files().items() if "array_record" in n} == first
