"""One run at a time in a bucket, which has no locks: a file there says which run is at work.

The run that holds the lease renews the file. A run that finds the file of another run watches it:
if the file is renewed, that run is alive; if not for long enough, that run has died, and the file
is replaced. A run that was paused for so long finds another holder, and has to stop: `check` is
called before every write.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from etils import epath

from datafree_nas.runtime import processes
from datafree_nas.runtime.errors import UserError

FILE = ".lock"
_RENEW_SECONDS = 15.0
_DEAD_SECONDS = 4 * _RENEW_SECONDS
_LOOK_SECONDS = 1.0  # between two looks at the file of another run
_SETTLE_SECONDS = 2.0  # time after which two runs that begin together have seen each other


class Lease:
    """The right to write in a bucket.

    Args:
        remote: folder of the run in the bucket.
        run: random name of this run, the same in all of its processes.
    """

    def __init__(self, remote: epath.Path, run: str):
        self._remote, self._file, self._run = remote, remote / FILE, run
        self._renewals, self._ended = 0, threading.Event()

    def check(self) -> None:
        """Checks that this run still holds the lease.

        Raises:
            UserError: another run has taken over.
        """
        holder = self._holder()
        if holder.get("run") != self._run:
            raise UserError(
                f"another run has taken over {self._remote}, on {holder.get('host')}, because this "
                "one did nothing for a while; this one ends, and writes nothing any more"
            )

    def acquire(self) -> None:
        """Takes the lease; waits until the lease of a run that has died is void.

        Raises:
            UserError: another run is at work, or the bucket cannot be written.
        """
        try:
            self._wait_for(self._holder())
            self._remote.mkdir(parents=True, exist_ok=True)
            self._write()
            time.sleep(_SETTLE_SECONDS)
            holder = self._holder()
        except UserError:
            raise
        except Exception as error:  # every kind of file system has its own
            raise UserError(
                f"cannot work in {self._remote} ({type(error).__name__}: {error}); check its name "
                "and your permissions (for gs:// install the extra gcs)"
            ) from error
        if holder.get("run") != self._run:
            raise self._taken(holder)
        threading.Thread(target=self._renew, daemon=True).start()

    def _wait_for(self, holder: dict[str, Any]) -> None:
        if not holder or _has_died(holder):
            return
        deadline = time.monotonic() + _DEAD_SECONDS
        print(
            f"{self._remote} was last written by a run on {holder.get('host')}; seeing for "
            f"{_DEAD_SECONDS:.0f} s whether it is still at work",
            file=sys.stderr,
            flush=True,
        )
        while time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
            now = self._holder()
            if not now:
                return
            if now != holder:
                raise self._taken(now)

    def _taken(self, holder: dict[str, Any]) -> UserError:
        return UserError(
            f"another run is at work in {self._remote}, on {holder.get('host')}; wait for it, or "
            "choose another --workdir"
        )

    def release(self) -> None:
        """Gives the lease back, if this run still holds it."""
        self._ended.set()
        with contextlib.suppress(Exception):
            if self._holder().get("run") == self._run:
                self._file.unlink()

    def _renew(self) -> None:
        while not self._ended.wait(_RENEW_SECONDS):
            # after a failure it is tried again; after a takeover `check` prevents the write
            with contextlib.suppress(Exception):
                self.check()
                self._write()

    def _write(self) -> None:
        self._renewals += 1
        content = {
            "run": self._run,
            "host": socket.gethostname(),
            "machine": _this_machine(),
            "process": os.getpid(),
            "renewals": self._renewals,
        }
        self._file.write_text(json.dumps(content))

    def _holder(self) -> dict[str, Any]:
        """Reads the file: empty if there is none, an unknown host if it makes no sense."""
        if not self._file.exists():
            return {}
        try:
            content = json.loads(self._file.read_text())
        except (ValueError, RecursionError):
            return {"host": "an unknown machine"}
        return content if isinstance(content, dict) else {"host": "an unknown machine"}


def _this_machine() -> str:
    """Returns the boot and the process namespace in which numbers of processes are unique.

    It is empty if unknown.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _has_died(holder: dict[str, Any]) -> bool:
    """Tells whether the holder was a process of this machine that has ended."""
    machine, process = holder.get("machine"), holder.get("process")
    if not machine or machine != _this_machine() or type(process) is not int or process <= 0:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


@contextlib.contextmanager
def held(remote: epath.Path) -> Iterator[Lease]:
    """Holds the lease of a folder in a bucket in this block, so that no other run works there.

    Raises:
        UserError: another run is at work, or the bucket cannot be written.
    """
    lease = Lease(remote, processes.from_first(uuid.uuid4().hex))
    processes.once(lease.acquire)
    try:
        yield lease
    finally:
        if processes.primary():
            lease.release()
