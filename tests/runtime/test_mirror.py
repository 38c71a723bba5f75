"""A workdir in a bucket that is a dictionary."""

import json
import time
from typing import ClassVar

import fsspec
import pytest
from etils import epath
from fsspec.implementations.memory import MemoryFileSystem

from datafree_nas import pipeline
from datafree_nas.runtime import mirror
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
    monkeypatch.setattr(mirror, "_SETTLE_SECONDS", 0.0)
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
        assert _files().keys() == {"a/one", "two", mirror.LOCK}
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


def test_one_run_at_a_time():
    with mirror.workdir("gs://b/run"):
        with pytest.raises(UserError, match=r"another run is at work in gs://b/run, on "):
            _leave_a_file()
        assert mirror.LOCK in _files()


def test_a_dead_runs_lock_is_void():
    old = {"run": "another", "host": "gone", "time": time.time() - 1000}
    epath.Path("gs://b/run").mkdir(parents=True)
    epath.Path(f"gs://b/run/{mirror.LOCK}").write_text(json.dumps(old))
    with mirror.workdir("gs://b/run"):
        assert json.loads(_files()[mirror.LOCK])["run"] != "another"
    assert _files() == {}


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
    assert len(first) == 4
    removed = next(iter(first))
    epath.Path(f"gs://b/run/{removed}").unlink()
    epath.Path("gs://b/run/synthetic/done.json").unlink()
    with mirror.workdir("gs://b/run") as folder:
        pipeline.run(config, folder, ["teacher", "synthesize"])
    assert {n: c for n, c in _files().items() if "array_record" in n} == first
