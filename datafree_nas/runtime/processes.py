"""The processes of a run: one, or one on each host of a pod; all run the same program.

What the processes compute together goes over JAX's mesh. What they tell each other (numbers,
decisions, that one of them is lost) goes over `rollcall`. Inside `alone()` a process works on its
own.
"""

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

import jax

from datafree_nas.runtime import addresses, interrupt
from datafree_nas.runtime.errors import LOST, Interrupted, UserError
from datafree_nas.runtime.rollcall import Events, RollCall
from datafree_nas.runtime.terminal import printable

T = TypeVar("T")

PORT_BELOW = 1000  # the roll call's port is JAX's port minus this number
_BIND_ADDRESS = "JAX_COORDINATOR_BIND_ADDRESS"  # JAX's own name for where process 0 listens
_GRACE_SECONDS = 2.0  # time for a process to report its own error before others report it
_HEARTBEAT_SECONDS = 100  # for JAX's own heartbeats; the roll call is quicker
_SHUTDOWN_SECONDS = 20

_alone: ContextVar[bool] = ContextVar("alone", default=False)
_rollcall: RollCall | None = None  # global, as JAX's runtime is
_ending = threading.Lock()  # so that only the first reason to end is reported


@dataclass(frozen=True)
class ProcessPlace:
    """The place of a process among all processes of a run; `count` is 1 if there is only one.

    Attributes:
        coordinator: `host:port` that process 0 will listen on.
        count: number of processes in the run.
        index: number of this process, from 0.
        local_devices: numbers of the devices that it may use, None for all that it sees.
    """

    coordinator: str
    count: int
    index: int
    local_devices: Sequence[int] | None = None


def find(coordinator: str, num_processes: int | None, process_id: int | None) -> ProcessPlace:
    """Finds this process's place by the flags, or else by the cluster.

    Clusters that JAX detects are TPU pods, GKE, SLURM and Open MPI.

    Raises:
        UserError: only some of the flags are given, or their values make no sense.
    """
    given = [bool(coordinator), num_processes is not None, process_id is not None]
    if any(given) and not all(given):
        raise UserError("give --coordinator, --num_processes and --process_id, or none of them")
    if num_processes is None or process_id is None:
        from jax._src.clusters import ClusterEnv  # what `jax.distributed.initialize` itself asks

        found = ClusterEnv.auto_detect_unset_distributed_params(None, None, None, None, None, 300)
        address, count, index, devices = found
        return (
            ProcessPlace(address, count, index or 0, devices)
            if address and count
            else ProcessPlace("", 1, 0)
        )
    found_at = addresses.split(coordinator)
    if found_at is None or found_at[1] <= PORT_BELOW:
        raise UserError(
            f"--coordinator={coordinator} is not HOST:PORT with a port over {PORT_BELOW}, nor "
            "[IPV6]:PORT"
        )
    if not 0 <= process_id < num_processes:
        raise UserError(f"--process_id={process_id} is not below --num_processes={num_processes}")
    return ProcessPlace(coordinator, num_processes, process_id)


def initialize(place: ProcessPlace, timeout: float) -> None:
    """Connects to the other processes, if there are any; has to come before any use of JAX.

    Args:
        place: place of this process in the run.
        timeout: seconds to wait for the others.

    Raises:
        UserError: not all processes came, and the message names the coordinator and the missing
            ones; or process 0 cannot listen on one of its two ports.
    """
    global _rollcall
    if place.count == 1:
        return
    host, port = _host_and_port(place.coordinator)
    bind_host, bind_port = _where_to_listen(host, port) if place.index == 0 else (host, port)
    events = Events(stopped=interrupt.request, ended=_end_with_them)
    sys.excepthook = _tell_of_bug
    _rollcall = RollCall(
        (host, port - PORT_BELOW), place.count, place.index, timeout, events, bind_host
    )
    once(lambda: _check_is_free(bind_host, bind_port))
    jax.distributed.initialize(
        place.coordinator,
        place.count,
        place.index,
        place.local_devices,
        coordinator_bind_address=addresses.join(bind_host, bind_port),
        heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
        shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
    )


def _host_and_port(address: str) -> tuple[str, int]:
    found = addresses.split(address)
    if found is None:
        raise UserError(f"{address} is not HOST:PORT or [IPV6]:PORT")
    return found


def _where_to_listen(host: str, port: int) -> tuple[str, int]:
    """Returns where process 0 listens: the coordinator's address, or that of the environment."""
    if given := os.environ.get(_BIND_ADDRESS):
        return _host_and_port(given)
    bind_host = addresses.to_listen_on(host)
    if bind_host != host:
        print(f"{host} is a loopback address on this machine: listening on all its interfaces")
    return bind_host, port


def _check_is_free(host: str, port: int) -> None:
    """Raises `UserError` if a port is taken; JAX would end in a segmentation fault on it."""
    for server in addresses.listen(host, port):
        server.close()


def _end_with_them(process: int, status: int | None, line: str) -> None:
    """Ends this process after another one has failed; a collective would wait for it for ever."""
    if status == 0:
        return
    with _ending:
        time.sleep(_GRACE_SECONDS if status else 0)
        if _rollcall is not None and _rollcall.left:  # it ends already, with its own line
            return
        told = f"process {process} ended with status {status}: {line}"
        lost = f"process {process} {line}; everything saved so far is kept."
        reason = f"{lost} Start all of them again." if status is None else told
        print(f"error: {reason}", file=sys.stderr, flush=True)
        os._exit(LOST if status is None else status)  # the main thread may be in a collective


def _tell_of_bug(*exception: Any) -> None:
    """Shows an exception that nobody expected, and ends this process of several."""
    time.sleep(_GRACE_SECONDS)  # if another process is lost, `_end_with_them` reports that reason
    sys.__excepthook__(*exception)
    leave(1, f"{exception[0].__name__}: {exception[1]}")


def leave(status: int, line: str) -> None:
    """Leaves a run of several processes, so that the others know why; ends after a failure.

    After a success all processes wait for each other. A process that failed must not wait: JAX's
    own shutdown would wait for the others, and then abort.
    """
    if _rollcall is None:
        return
    if status == 0:
        _rollcall.gather(None)
        _rollcall.leave()
        jax.distributed.shutdown()
        return
    _rollcall.leave(status, line)
    sys.stdout.flush()
    sys.stderr.flush()
    time.sleep(_GRACE_SECONDS)  # the coordinator's end aborts processes that still run
    os._exit(status)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Makes this process work on its own in this block: on its own devices, at its own pace."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def is_alone() -> bool:
    """Tells whether this process works on its own."""
    return _alone.get() or _rollcall is None


def count() -> int:
    """Returns the number of processes that work together here."""
    return 1 if is_alone() else _rollcall.count  # type: ignore[union-attr]


def index() -> int:
    """Returns the number of this process among them, 0 to `count() - 1`."""
    return 0 if is_alone() else _rollcall.index  # type: ignore[union-attr]


def primary() -> bool:
    """Tells whether this process is the one that writes common files and shows progress."""
    return index() == 0


def gather(value: Any) -> list[Any]:
    """Collects a value from every process, in their order; waits for all processes.

    Args:
        value: value that JSON can carry; floats arrive bit for bit.
    """
    if is_alone() or _rollcall is None:
        return json.loads(json.dumps([value]))
    return _rollcall.gather(value)


def from_first(value: T) -> T:
    """Returns the first process's value, for decisions that must be the same in all processes."""
    return gather(value if primary() else None)[0]


def say(line: str) -> None:
    """Prints one line on standard output, in the first process only."""
    if primary():
        print(printable(line), flush=True)


def once(action: Callable[[], Any]) -> None:
    """Runs an action in the first process; all processes go on when it is done.

    Raises:
        UserError: the action failed; raised in all processes.
    """
    failure = None
    if primary():
        try:
            action()
        except UserError as error:
            failure = str(error)
    if failure := gather(failure)[0]:
        raise UserError(failure)


def share(items: Sequence[T], work: Callable[[T], Any]) -> list[Any]:
    """Returns `[work(item) for item in items]`; each item is done by one process on its devices.

    Args:
        items: inputs of the work, the same in every process.
        work: function whose results JSON can carry.
    """
    here, everyone = index(), count()
    with alone():
        done = [work(item) for item in items[here::everyone]]
    parts = gather(done)
    return [parts[i % everyone][i // everyone] for i in range(len(items))]


def stop_requested() -> int:
    """Returns the signal that has asked any of these processes to stop, 0 if none has."""
    mine = interrupt.received()
    if mine and _rollcall is not None:
        _rollcall.stop(mine)  # `gather` does not reach the others if they work alone
    return max(gather(mine))


def check_stop() -> None:
    """Raises `Interrupted` if a signal has come; for use between two pieces of finished work."""
    if signum := stop_requested():
        raise Interrupted(signum)
