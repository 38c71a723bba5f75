"""The processes of a run know of each other: which are missing, which are lost, which must stop.

Process 0 listens until all are there, and every other process holds a connection to it as long as
it lives. The kernel closes the connection of a process that dies, so a loss is known at once. JAX's
own heartbeats take minutes to notice it, and then abort. `line` defines the form of messages,
`door` the first messages of a connection.
"""

import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from datafree_nas.runtime import addresses, door
from datafree_nas.runtime.errors import LostError, UserError
from datafree_nas.runtime.line import Line, silence

_RETRY_SECONDS = 0.2
_CONNECT_SECONDS = 5.0
_RELEASE_SECONDS = 0.5  # to notice that a process has ended, when it comes a second time


class Events(NamedTuple):
    """Functions that are called when something happens to another process, in their own thread.

    Attributes:
        stopped: function `(signal)` for a signal that has asked another process to stop.
        ended: function `(process, status, line)` for a process that has ended. The status is None
            if the process could not report it, and the line then says what was seen of it. It may
            be this very process, if it was paused so long that the others have given it up.
    """

    stopped: Callable[[int], None]
    ended: Callable[[int, int | None, str], None]


class RollCall:
    """All processes of a run, once every one of them is there; `left` when this one has gone.

    Args:
        address: host and port at which the others reach process 0.
        count: number of processes in the run.
        index: number of this process, from 0.
        timeout: seconds to wait for the others.
        events: functions to call when something happens to another process.
        listen_on: host whose addresses process 0 listens on, that of `address` if None.

    Raises:
        UserError: not all came in time; the message names the coordinator and the missing ones.
    """

    def __init__(
        self,
        address: tuple[str, int],
        count: int,
        index: int,
        timeout: float,
        events: Events,
        listen_on: str | None = None,
    ):
        self.count, self.index, self._events = count, index, events
        self._address, self._where = address, addresses.join(*address)
        self._arrived = threading.Condition()
        self._values: dict[int, dict[int, Any]] = {}
        self._answers: dict[int, list[Any]] = {}
        self._calls, self.left = 0, False
        self._lines: dict[int, Line] = {}
        self._meeting = index == 0  # as long as it is true, a lost process may come again
        if index == 0:
            self._listen(addresses.listen(listen_on or address[0], address[1]), timeout)
        else:
            self._join(timeout)

    def gather(self, value: Any) -> list[Any]:
        """Collects a value from every process, in their order; waits until all have called it.

        Args:
            value: value that JSON can carry; floats arrive bit for bit.
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
        return json.loads(json.dumps(everyone))  # the same as the others get

    def stop(self, signum: int) -> None:
        """Tells the others that a signal has asked this process to stop."""
        self._tell("stop", signum)

    def leave(self, status: int = 0, line: str = "") -> None:
        """Says goodbye; what happens to the others from now on is ignored.

        Args:
            status: exit status of this process.
            line: reason of the exit status, in one line.
        """
        self.left = True
        self._tell("ended", self.index, status, line)
        for line_ in self._lines.values():
            line_.close()

    def _tell(self, *message: Any) -> None:
        for line in self._lines.values():
            line.send(*message)

    def _listen(self, servers: list[socket.socket], timeout: float) -> None:
        """Waits for the others, in process 0."""
        entrance = door.Door(servers, self.count, self._take)
        entrance.stay_open(self._is_complete, time.monotonic() + timeout)
        with self._arrived:
            missing = [i for i in range(1, self.count) if i not in self._lines]
            self._meeting, self.left = False, bool(missing)
        if not missing:
            return self._tell("go")
        self._tell("missing", missing)
        for line in self._lines.values():
            line.close()
        raise UserError(self._missing(missing, timeout))

    def _take(self, index: int, line: Line) -> bool:
        """Gives a process its place, unless another one has it."""
        with self._arrived:
            self._arrived.wait_for(lambda: index not in self._lines, _RELEASE_SECONDS)
            if not self._meeting or index in self._lines:
                return False
            line.send("welcome")
            line.keep_alive()
            self._lines[index] = line
        threading.Thread(target=self._read, args=(index, line), daemon=True).start()
        return True

    def _is_complete(self) -> bool:
        with self._arrived:
            self._meeting = len(self._lines) < self.count - 1
            return not self._meeting

    def _is_free_again(self, index: int) -> bool:
        """Frees a lost process's place if the run has not begun, and tells whether it did."""
        with self._arrived:
            if self._meeting:
                self._lines.pop(index).close()
                self._arrived.notify_all()
            return self._meeting

    def _missing(self, missing: list[Any], timeout: float) -> str:
        return (
            f"after {timeout:.0f} s, of {self.count} processes that were to meet at {self._where} "
            f"these are missing: {', '.join(map(str, missing))}; start them, or raise "
            "--start_timeout"
        )

    def _join(self, timeout: float) -> None:
        """Connects to process 0, and waits with it for the others."""
        line = self._lines[0] = self._reach(timeout)
        line.keep_alive()
        match line.receive():
            case ["go"]:
                threading.Thread(target=self._read, args=(0, line), daemon=True).start()
                return
            case ["missing", list(missing)]:
                error = UserError(self._missing(missing, timeout))
            case _:
                error = LostError(
                    f"the coordinator {self._where} went away; start all processes again, unless "
                    "its output says otherwise"
                )
        line.close()
        raise error

    def _reach(self, timeout: float) -> Line:
        """Tries to connect until process 0 welcomes this process."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                line = Line(socket.create_connection(self._address, timeout=_CONNECT_SECONDS))
                refusal, problem = door.knock(line, self.index, self.count, deadline), "no answer"
                if refusal == "":
                    return line
                line.close()
            except (OSError, UnicodeError) as error:
                refusal, problem = None, getattr(error, "strerror", None) or str(error)
            if refusal:
                raise UserError(
                    f"the coordinator {self._where} refused process {self.index} of "
                    f"{self.count}: {refusal}"
                )
            if time.monotonic() > deadline:
                raise UserError(
                    f"process {self.index} has not reached the coordinator, process 0, at "
                    f"{self._where} in {timeout:.0f} s ({problem}); start it, or open the port"
                )
            time.sleep(_RETRY_SECONDS)

    def _read(self, other: int, line: Line) -> None:
        """Handles the messages of another process until none comes, or one that makes no sense."""
        while True:
            message = line.receive()
            match [] if self._meeting else message:  # before "go" no message makes sense
                case ["gather", int(number), value]:
                    with self._arrived:
                        self._values.setdefault(number, {})[other] = value
                        self._arrived.notify_all()
                case ["answer", int(number), list(values)] if len(values) == self.count:
                    with self._arrived:
                        self._answers[number] = values
                        self._arrived.notify_all()
                case ["stop", int(signum)] if 0 < signum < 128:
                    self._pass_on(other, message)
                    self._events.stopped(signum)
                case ["ended", int(process), (int() | None) as status, str(said)] if (
                    0 <= (status or 0) < 256
                ):
                    self._pass_on(other, message)
                    return None if self.left else self._events.ended(process, status, said)
                case _:
                    break
        if not self.left and not self._is_free_again(other):
            said = silence() if line.silent else "was lost"
            self._pass_on(other, ["ended", other, None, said])
            line.send("ended", other, None, said)  # it may be paused, and learn this when it wakes
            self._events.ended(other, None, said)
        return None

    def _pass_on(self, source: int, message: list[Any]) -> None:
        """Sends a message on to the others, in the coordinator, which alone is connected to all."""
        for other, line in self._lines.items():
            if self.index == 0 and other != source:
                line.send(*message)
