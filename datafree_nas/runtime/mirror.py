"""A workdir in a bucket (`gs://…`): the run works in a folder of this machine, a mirror of it.

Every finished file is copied to the bucket, in the order in which files are finished, by a thread;
at the start, and where processes need each other's files, the folder is filled from the bucket. So
all libraries see nothing but local files, and what is in the bucket is what was finished.
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

_PREFIX = "datafree_nas_"  # of the temporary folders
_OWNED = ".owned"  # a file in them, locked as long as their process lives
_NEW_SECONDS = 60.0  # in which a folder may not be locked yet

_mirror: "Mirror | None" = None  # of the process: it has one workdir


class Mirror:
    """A local folder and its counterpart in a bucket.

    What is to be copied and removed waits in a queue, which stops at its first failure: what was to
    be removed may be all there is, if that which replaces it was not copied.

    Args:
        local: the folder.
        remote: the counterpart.
        check: called before everything that is written; raises `UserError` if it must not be.
    """

    def __init__(self, local: Path, remote: epath.Path, check: Callable[[], None]):
        self.local, self.remote, self._check = local, remote, check
        self._thread = ThreadPoolExecutor(1, "mirror")
        self._lock = threading.Lock()
        self._queued: list[Future[None]] = []
        self._failure: Exception | None = None
        self._copied: dict[str, tuple[int, int]] = {}  # size and time of change, when copied

    def push(self, path: Path) -> None:
        """Has a file copied, or those of a folder that have changed; hidden ones are not."""
        self._queue(self._push, path)

    def remove(self, path: Path) -> None:
        """Has a file or folder removed from the bucket."""
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
            UserError: it could not be written.
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
                    "there is kept; mend that and run the same command again"
                ) from error

    def pull(self, path: Path) -> None:
        """Fetches what the bucket has below this place and the folder has not."""
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
        """Ends the thread, when the bucket has everything."""
        try:
            self.flush()
        finally:
            self._thread.shutdown()

    def _name(self, path: Path) -> str:
        return path.absolute().relative_to(self.local).as_posix()


@contextlib.contextmanager
def workdir(place: str) -> Iterator[Path]:
    """The folder to work in for a `--workdir`: itself, or a mirror of a bucket's.

    Args:
        place: a path, or a URL that `etils.epath` knows.

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
    """A folder of this process alone. Those of processes that were killed are removed first."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # of another user
            if time.time() - folder.stat().st_mtime > _NEW_SECONDS and _is_abandoned(folder):
                shutil.rmtree(folder)
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as name:
        folder = Path(name).resolve()
        with filelock.FileLock(folder / _OWNED):
            (folder / "run").mkdir()
            yield folder / "run"


def _is_abandoned(folder: Path) -> bool:
    """Whether the process that had a folder is no more; the system took its lock away."""
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
    """Has a finished file, or a folder's, copied to the bucket if the workdir is in one."""
    if _mirror is not None:
        _mirror.push(path)


def remove(path: Path) -> None:
    """Has a file or folder removed from the bucket if the workdir is in one."""
    if _mirror is not None:
        _mirror.remove(path)


def flush() -> None:
    """Waits until the bucket, if there is one, has everything."""
    if _mirror is not None:
        _mirror.flush()


def bucket() -> str:
    """The URL of the workdir if it is in a bucket, else empty."""
    return "" if _mirror is None else str(_mirror.remote)


def exchange(path: Path) -> None:
    """All processes have each other's files below this place from here on; they wait for it."""
    if _mirror is not None:
        _mirror.push(path)
        _mirror.flush()
        processes.gather(None)
        _mirror.pull(path)
