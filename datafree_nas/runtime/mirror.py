"""A workdir in a bucket (`gs://…`): the run works in a local folder, which is a mirror of it.

A thread copies every finished file to the bucket, in the order in which files are finished. At the
start, and where processes need each other's files, the folder is filled from the bucket. So all
libraries see only local files, and the bucket holds only finished files.
"""

import contextlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import filelock
from etils import epath

from datafree_nas.runtime import lease, processes
from datafree_nas.runtime.errors import UserError

_PREFIX = "datafree_nas_"  # start of the temporary folders' names
_OWNED = ".owned"  # file in each of them, locked as long as the folder's process lives
_NEW_SECONDS = 60.0  # age up to which a folder may not be locked yet

_mirror: "Mirror | None" = None  # global, because a process has one workdir


class Mirror:
    """A local folder and its counterpart in a bucket.

    Copies and removals wait in a queue, which stops at its first failure: if a file was not copied,
    the older one, which was to be removed after it, may be the only one.

    Args:
        local: folder on this machine.
        remote: folder in the bucket.
        check: function that is called before every write; raises `UserError` to forbid it.
    """

    def __init__(self, local: Path, remote: epath.Path, check: Callable[[], None]):
        self.local, self.remote, self._check = local, remote, check
        self._thread = ThreadPoolExecutor(1, "mirror")
        self._lock = threading.Lock()
        self._queued: list[Future[None]] = []
        self._failure: Exception | None = None
        self._copied: dict[str, tuple[int, int]] = {}  # size and time of change, when copied

    def push(self, path: Path) -> None:
        """Queues a file, or the changed files of a folder, to be copied; skips hidden files."""
        self._queue(self._push, path)

    def remove(self, path: Path) -> None:
        """Queues a file or folder to be removed from the bucket."""
        self._queue(self._remove, path)

    def _queue(self, work: Callable[[Path], None], path: Path) -> None:
        with self._lock:
            self._queued.append(self._thread.submit(self._do, work, path))

    def _do(self, work: Callable[[Path], None], path: Path) -> None:
        if self._failure:
            raise self._failure
        try:
            work(path)
        except Exception as error:
            self._failure = error
            raise

    def _push(self, path: Path) -> None:
        if path.is_dir():
            for inner in sorted(path.iterdir()):
                self._push(inner)
        elif path.exists() and not path.name.startswith("."):
            name, seen = self._name(path), (path.stat().st_size, path.stat().st_mtime_ns)
            if self._copied.get(name) != seen:
                self._check()
                (self.remote / name).parent.mkdir(parents=True, exist_ok=True)
                (self.remote / name).write_bytes(path.read_bytes())
                self._copied[name] = seen

    def _remove(self, path: Path) -> None:
        self._check()
        name = self._name(path)
        for known in [k for k in self._copied if k == name or k.startswith(f"{name}/")]:
            del self._copied[known]
        there = self.remote / name
        if there.is_dir():
            there.rmtree()
        elif there.exists():
            there.unlink()

    def flush(self) -> None:
        """Waits until the bucket has everything.

        Raises:
            UserError: the bucket could not be written.
        """
        with self._lock:
            queued, self._queued = self._queued, []
        for future in queued:
            try:
                future.result()
            except UserError:
                raise
            except Exception as error:  # every kind of file system has its own
                raise UserError(
                    f"cannot write to {self.remote} ({type(error).__name__}: {error}); what is "
                    "there is kept; fix this and run the same command again"
                ) from error

    def pull(self, path: Path) -> None:
        """Fetches the files at or below `path` that the bucket has and the local folder has not."""
        there = self.remote / self._name(path)
        if there.is_dir():
            path.mkdir(parents=True, exist_ok=True)
            for inner in there.iterdir():
                if not inner.name.startswith("."):
                    self.pull(path / inner.name)
        elif there.exists() and not path.exists():
            partial = path.with_name(f".{path.name}.partial")
            partial.write_bytes(there.read_bytes())
            os.replace(partial, path)
            self._copied[self._name(path)] = (path.stat().st_size, path.stat().st_mtime_ns)

    def close(self) -> None:
        """Ends the thread once the bucket has everything."""
        try:
            self.flush()
        finally:
            self._thread.shutdown()

    def _name(self, path: Path) -> str:
        return path.absolute().relative_to(self.local).as_posix()


@contextlib.contextmanager
def workdir(place: str) -> Iterator[Path]:
    """Yields the folder to work in for a `--workdir`: itself, or the mirror of one in a bucket.

    Args:
        place: path, or URL that `etils.epath` knows.

    Raises:
        UserError: the bucket cannot be reached, or another run is at work there.
    """
    global _mirror
    if "://" not in place:
        yield Path(place)
        return
    remote = epath.Path(place)
    with _temporary_folder() as local, lease.held(remote) as held:
        _mirror = Mirror(local, remote, held.check)
        try:
            with contextlib.closing(_mirror):
                _mirror.pull(local)
                yield local
        finally:
            _mirror = None


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    """Makes a folder for this process alone; first removes those of processes that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # the folder of another user
            if time.time() - folder.stat().st_mtime > _NEW_SECONDS and _is_abandoned(folder):
                shutil.rmtree(folder)
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as name:
        folder = Path(name).resolve()
        with filelock.FileLock(folder / _OWNED):
            (folder / "run").mkdir()
            yield folder / "run"


def _is_abandoned(folder: Path) -> bool:
    """Tells whether the process that made a folder has ended; the system released its lock."""
    if folder.is_symlink() or not (folder / _OWNED).exists():
        return False
    lock = filelock.FileLock(folder / _OWNED)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return False
    lock.release()
    return True


def push(path: Path) -> None:
    """Queues a finished file, or the files of a folder, to be copied if there is a bucket."""
    if _mirror is not None:
        _mirror.push(path)


def remove(path: Path) -> None:
    """Queues a file or folder to be removed from the bucket if there is one."""
    if _mirror is not None:
        _mirror.remove(path)


def flush() -> None:
    """Waits until the bucket, if there is one, has everything."""
    if _mirror is not None:
        _mirror.flush()


def bucket() -> str:
    """Returns the URL of the workdir if it is in a bucket, else an empty text."""
    return "" if _mirror is None else str(_mirror.remote)


def exchange(path: Path) -> None:
    """Copies all processes' files below `path` to each other through the bucket; waits for all."""
    if _mirror is not None:
        _mirror.push(path)
        _mirror.flush()
        processes.gather(None)
        _mirror.pull(path)
