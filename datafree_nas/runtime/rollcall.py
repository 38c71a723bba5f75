"""The processes of one run know of each other: who is missing, who is lost, who has to stop.

Process 0 listens, and every other one holds a connection to it as long as it lives. The kernel
closes the connection of a process that dies, so a loss is known at once; JAX's own heartbeats take
minutes to tell, and then abort. Messages are lines of JSON: `[kind, ...]`.
"""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from datafree_nas.runtime.errors import UserError

_RETRY_SECONDS = 0.2
_KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}  # of a machine that is gone


class Events(NamedTuple):
    """What happens to the others; called from a thread of its own.

    Attributes:
        stopped: `(signal)`, another process was asked to stop.
        ended: `(process, status, line)`, another process is no more. The status is None if it
            could not say one.
    """

    stopped: Callable[[int], None]
    ended: Callable[[int, int | None, str], None]


class _Line:
    """A connection that carries messages."""

    def __init__(self, connection: socket.socket):
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):  # not on every system
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._connection, self._file = connection, connection.makefile("r")
        self._writing = threading.Lock()

    def send(self, *message: Any) -> None:
        with self._writing, contextlib.suppress(OSError):  # of a loss the reader hears
            self._connection.sendall((json.dumps(message) + "\n").encode())

    def receive(self, timeout: float | None = None) -> list[Any]:
        """The next message, `[]` when the other side is gone."""
        self._connection.settimeout(timeout)
        try:
            line = self._file.readline()
            return json.loads(line) if line.endswith("\n") else []
        except (OSError, ValueError):
            return []

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()


class RollCall:
    """All processes of a run, once every one of them is there; `left` when this one has gone.

    Args:
        address: host and port that process 0 listens on.
        count: of processes.
        index: of this one.
        timeout: seconds to wait for the others.
        events: what to do when something happens to one of them.

    Raises:
        UserError: not everyone came in time; names the coordinator and who is missing.
    """

    def __init__(
        self, address: tuple[str, int], count: int, index: int, timeout: float, events: Events
    ):
        self.count, self.index, self._events = count, index, events
        self._where = f"{address[0]}:{address[1]}"
        self._arrived = threading.Condition()
        self._values: dict[int, dict[int, Any]] = {}
        self._answers: dict[int, list[Any]] = {}
        self._calls, self.left = 0, False
        deadline = time.monotonic() + timeout
        meet = self._listen if index == 0 else self._join
        self._lines = meet(address, deadline, timeout)
        for other, line in self._lines.items():
            threading.Thread(target=self._read, args=(other, line), daemon=True).start()

    def gather(self, value: Any) -> list[Any]:
        """Everyone's value, in the order of processes; comes back when everyone has called it.

        Args:
            value: that JSON can carry; floats arrive bit for bit.
        """
        number = self._calls = self._calls + 1
        if self.index:
            self._lines[0].send("gather", number, value)
            with self._arrived:
                self._arrived.wait_for(lambda: number in self._answers)
                return self._answers.pop(number)
        with self._arrived:
            values = self._values.setdefault(number, {})
            values[0] = value
            self._arrived.wait_for(lambda: len(values) == self.count)
            del self._values[number]
        everyone = [values[i] for i in range(self.count)]
        self._tell("answer", number, everyone)
        return json.loads(json.dumps(everyone))  # as the others see it

    def stop(self, signum: int) -> None:
        """Tells the others that a signal has asked this process to stop."""
        self._tell("stop", signum, self.index)

    def leave(self, status: int = 0, line: str = "") -> None:
        """Says goodbye; what becomes of the others from here on is of no interest.

        Args:
            status: of this process, for the shell.
            line: what it has to say of it.
        """
        self.left = True
        self._tell("ended", self.index, status, line)
        for line_ in self._lines.values():
            line_.close()

    def _tell(self, *message: Any) -> None:
        for line in self._lines.values():
            line.send(*message)

    def _listen(
        self, address: tuple[str, int], deadline: float, timeout: float
    ) -> dict[int, _Line]:
        """Process 0 waits for the others."""
        here = address[0] if address[0] in ("127.0.0.1", "localhost") else ""
        lines: dict[int, _Line] = {}
        try:
            server = socket.create_server((here, address[1]))
        except OSError as error:
            raise UserError(
                f"process 0 cannot listen on {self._where} ({error.strerror}); choose another "
                "port for --coordinator"
            ) from None
        with server:
            while len(lines) < self.count - 1 and (left := deadline - time.monotonic()) > 0:
                server.settimeout(left)
                with contextlib.suppress(TimeoutError):
                    self._admit(_Line(server.accept()[0]), lines)
        missing = [str(i) for i in range(1, self.count) if i not in lines]
        for line in lines.values():
            line.send("missing" if missing else "go", missing)
        if missing:
            raise UserError(self._missing(missing, timeout))
        return lines

    def _admit(self, line: _Line, lines: dict[int, _Line]) -> None:
        hello = line.receive(timeout=5)
        if len(hello) != 3 or hello[0] != "here":
            line.close()  # a port scanner
        elif hello[2] != self.count or not 0 < hello[1] < self.count or hello[1] in lines:
            line.send("refused", hello[2] == self.count)
        else:
            lines[hello[1]] = line

    def _missing(self, missing: list[str], timeout: float) -> str:
        return (
            f"after {timeout:.0f} s, of {self.count} processes that were to meet at {self._where} "
            f"these are missing: {', '.join(missing)}; start them, or raise --start_timeout"
        )

    def _join(self, address: tuple[str, int], deadline: float, timeout: float) -> dict[int, _Line]:
        """Every other process goes to process 0."""
        while True:
            try:
                line = _Line(socket.create_connection(address, timeout=5))
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise UserError(
                        f"process {self.index} has not reached the coordinator, process 0, at "
                        f"{self._where} in {timeout:.0f} s ({error.strerror or error}); start it, "
                        "or open the port"
                    ) from None
                time.sleep(_RETRY_SECONDS)
        line.send("here", self.index, self.count)
        kind, detail = (line.receive(timeout=None) or ["gone", None])[:2]
        if kind == "missing":
            raise UserError(self._missing(detail, timeout))
        if kind == "refused":
            reason = "that number is taken or too large" if detail else "it expects another number"
            raise UserError(
                f"the coordinator {self._where} refused process {self.index} of {self.count}: "
                f"{reason}; check --process_id and --num_processes"
            )
        if kind != "go":
            raise UserError(f"the coordinator {self._where} went away; see its output")
        return {0: line}

    def _read(self, other: int, line: _Line) -> None:
        while message := line.receive():
            kind, *rest = message
            if kind == "gather":
                number, value = rest
                with self._arrived:
                    self._values.setdefault(number, {})[other] = value
                    self._arrived.notify_all()
            elif kind == "answer":
                with self._arrived:
                    self._answers[rest[0]] = rest[1]
                    self._arrived.notify_all()
            elif kind == "stop":
                self._pass_on(other, message)
                self._events.stopped(rest[0])
            elif kind == "ended":
                self._pass_on(other, message)
                return None if self.left else self._events.ended(*rest)
        if not self.left:
            self._pass_on(other, ["ended", other, None, ""])
            self._events.ended(other, None, "")
        return None

    def _pass_on(self, source: int, message: list[Any]) -> None:
        """The coordinator is the only one who knows everybody."""
        for other, line in self._lines.items():
            if self.index == 0 and other != source:
                line.send(*message)
