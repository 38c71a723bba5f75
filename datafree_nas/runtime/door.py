"""How the processes of a run connect: process 0 opens a door, and the others knock on it.

    process 0                                  another one
                                           <-  connects
    ["who", nonce]                         ->
                                           <-  ["here", index, count, proof]
    ["welcome"] or ["refused", reason]     ->

A process proves that it knows the token, the environment variable DATAFREE_NAS_TOKEN, without
sending it. Connections of port scanners, and those that send nothing, are closed and delay nobody.
"""

import hmac
import os
import secrets
import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence

from datafree_nas.runtime.line import Line

TOKEN = "DATAFREE_NAS_TOKEN"
HELLO_BYTES = 1024
HELLO_SECONDS = 5.0  # from the connection to the end of its hello
MOST_WAITING = 64  # connections without a hello; if there are more, the oldest is closed
_POLL_SECONDS = 0.05
REFUSALS = {
    "number": "that number is taken or too large; check --process_id and --num_processes",
    "count": "it expects another number; check --process_id and --num_processes",
    "token": f"they have different tokens; set {TOKEN} alike in all processes",
}


def _proof(nonce: str, index: int, count: int) -> str:
    token = os.fsencode(os.environ.get(TOKEN, ""))
    said = f"{nonce} {index} {count}".encode(errors="replace")
    return hmac.new(token, said, "sha256").hexdigest()


class Door:
    """Process 0's side; every connection has a thread of its own for its hello.

    Args:
        servers: sockets that listen; they are closed at the end.
        count: number of processes in the run.
        take: function `(index, line) -> whether the place of that index was free`. If so, it takes
            the place and tells the process.
    """

    def __init__(
        self, servers: Sequence[socket.socket], count: int, take: Callable[[int, Line], bool]
    ):
        self._servers, self._count, self._take = servers, count, take
        self._waiting: list[Line] = []
        self._changing = threading.Lock()

    def stay_open(self, complete: Callable[[], bool], deadline: float) -> None:
        """Lets processes in until `complete()`, or until `time.monotonic()` is `deadline`."""
        with selectors.DefaultSelector() as ready:
            for server in self._servers:
                server.setblocking(False)
                ready.register(server, selectors.EVENT_READ)
            while not complete() and time.monotonic() < deadline:
                for key, _ in ready.select(_POLL_SECONDS):
                    self._open(key.fileobj, deadline)  # type: ignore[arg-type]
        for server in self._servers:
            server.close()
        with self._changing:
            for line in self._waiting:
                line.close()

    def _open(self, server: socket.socket, deadline: float) -> None:
        try:
            line = Line(server.accept()[0])
        except OSError:  # the other end has already gone
            return
        with self._changing:
            self._waiting.append(line)
            if len(self._waiting) > MOST_WAITING:
                self._waiting.pop(0).close()
        deadline = min(deadline, time.monotonic() + HELLO_SECONDS)
        threading.Thread(target=self._ask, args=(line, deadline), daemon=True).start()

    def _ask(self, line: Line, deadline: float) -> None:
        nonce = secrets.token_hex(16)
        line.send("who", nonce)
        hello = line.receive(HELLO_BYTES, deadline)
        with self._changing:
            if line not in self._waiting:  # it was closed to make room for newer ones
                return
            self._waiting.remove(line)
        match hello:
            case ["here", int(index), int(count), str(proof)]:
                refusal = self._refusal(nonce, index, count, proof)
                if not refusal and not self._take(index, line):
                    refusal = "number"
                if refusal:
                    line.send("refused", refusal)
                    line.close()
            case _:
                line.close()

    def _refusal(self, nonce: str, index: int, count: int, proof: str) -> str:
        expected = _proof(nonce, index, count)
        if not hmac.compare_digest(expected.encode(), proof.encode(errors="replace")):
            return "token"
        if count != self._count:
            return "count"
        return "" if 0 < index < count else "number"


def knock(line: Line, index: int, count: int, deadline: float) -> str | None:
    """Tells process 0 who this process is; the side of all other processes.

    Returns:
        Reason of a refusal; "" if this process is welcome; None if there was no answer, because
        too many others were knocking, or another program listens there.
    """
    deadline = min(deadline, time.monotonic() + HELLO_SECONDS)
    match line.receive(HELLO_BYTES, deadline):
        case ["who", str(nonce)]:
            line.send("here", index, count, _proof(nonce, index, count))
        case _:
            return None
    match line.receive(HELLO_BYTES, deadline):
        case ["welcome"]:
            return ""
        case ["refused", str(reason)]:
            return REFUSALS.get(reason)
    return None
