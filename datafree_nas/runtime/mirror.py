"""A workdir in a bucket (`gs://…`): the run works in a folder of this machine, a mirror of it.

Every finished file is copied to the bucket, in the order in which files are finished, by a thread;
at the start, and where processes need each other's files, the folder is filled from the bucket. So
all libraries see nothing but local files, and what is in the bucket is what was finished.
"""

import contextlib
import json
import os
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from etils import epath

from datafree_nas.runtime import processes
from datafree_nas.runtime.errors import UserError

LOCK = ".lock"
_BEAT_SECONDS = 60.0  # how often the lock says that its run is alive
_DEAD_SECONDS = 5 * _BEAT_SECONDS
_SETTLE_SECONDS = 2.0  # in which two runs that begin at once see each other

_mirror: "Mirror | None" = None  # of the process: it has one workdir


class Mirror:
    """A local folder and its counterpart in a bucket.

    Args:
        local: the folder.
        remote: the counterpart.
    """

    def __init__(self, local: Path, remote: epath.Path):
        self.local, self.remote = local, remote
        self._thread = ThreadPoolExecutor(1, "mirror")
        self._queued: list[Future[None]] = []
        self._copied: dict[str, tuple[int, int]] = {}  # size and time of change, when copied

    def push(self, path: Path) -> None:
        """Has a file copied, or those of a folder that have changed; hidden ones are not."""
        self._queued.append(self._thread.submit(self._push, path))

    def _push(self, path: Path) -> None:
        if path.is_dir():
            for inner in sorted(path.iterdir()):
                self._push(inner)
        elif path.exists() and not path.name.startswith("."):
            name, seen = self._name(path), (path.stat().st_size, path.stat().st_mtime_ns)
            if self._copied.get(name) != seen:
                (self.remote / name).parent.mkdir(parents=True, exist_ok=True)
                (self.remote / name).write_bytes(path.read_bytes())
                self._copied[name] = seen

    def remove(self, path: Path) -> None:
        """Has a file or folder removed from the bucket."""
        self._queued.append(self._thread.submit(self._remove, path))

    def _remove(self, path: Path) -> None:
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
        queued, self._queued = self._queued, []
        for future in queued:
            try:
                future.result()
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
    with tempfile.TemporaryDirectory(prefix="datafree_nas_") as folder:
        local = Path(folder).absolute() / (remote.name or "run")
        local.mkdir()
        _mirror = Mirror(local, remote)
        try:
            with _locked(remote), contextlib.closing(_mirror):
                _mirror.pull(local)
                yield local
        finally:
            _mirror = None


@contextlib.contextmanager
def _locked(remote: epath.Path) -> Iterator[None]:
    """One run at a time in a bucket; the lock of a run that died is void after five minutes."""
    ended, me = threading.Event(), {"run": uuid.uuid4().hex, "host": socket.gethostname()}
    file = remote / LOCK

    def beat() -> None:
        while not ended.wait(_BEAT_SECONDS):
            with contextlib.suppress(Exception):  # it is tried again
                file.write_text(json.dumps({**me, "time": time.time()}))

    def acquire() -> None:
        try:
            holder = json.loads(file.read_text()) if file.exists() else {"time": 0}
            if time.time() - holder["time"] > _DEAD_SECONDS:
                remote.mkdir(parents=True, exist_ok=True)
                file.write_text(json.dumps({**me, "time": time.time()}))
                time.sleep(_SETTLE_SECONDS)
                holder = json.loads(file.read_text())
        except Exception as error:  # of whatever kind the file system has
            raise UserError(
                f"cannot work in {remote} ({type(error).__name__}: {error}); check its name and "
                "your permissions (for gs:// install the extra gcs)"
            ) from error
        if holder.get("run") != me["run"]:
            raise UserError(
                f"another run is at work in {remote}, on {holder.get('host')}; wait for it, or "
                f"choose another --workdir (a run that died is forgotten after "
                f"{_DEAD_SECONDS / 60:.0f} minutes)"
            )

    processes.once(acquire)
    threading.Thread(target=beat if processes.primary() else ended.wait, daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        if processes.primary():
            with contextlib.suppress(Exception):
                file.unlink()


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


def exchange(path: Path) -> None:
    """All processes have each other's files below this place from here on; they wait for it."""
    if _mirror is not None:
        _mirror.push(path)
        _mirror.flush()
        processes.gather(None)
        _mirror.pull(path)
