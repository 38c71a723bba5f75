"""A connection between two processes that carries messages: lines of JSON, `[kind, ...]`.

Anybody may be at the other end, so what comes in is limited in size and in time, and no bytes raise
an exception. Once both ends know each other, they send a beat every few seconds. If no beat comes
any more, the other process is stopped, or its machine has gone without closing the connection.
"""

import contextlib
import json
import math
import socket
import threading
import time
from typing import Any

BEAT_SECONDS = 5.0
SILENT_BEATS = 8  # number of missing beats after which a process is lost
MESSAGE_BYTES = 1 << 28  # size of the longest message
_CHUNK_BYTES = 1 << 16


def silence() -> str:
    """Returns what error lines say of a process that was `silent`."""
    return f"has been silent for {BEAT_SECONDS * SILENT_BEATS:.0f} s"


class Line:
    """A connection that carries messages; `silent` once nothing has come for too long.

    Silence is counted in waits, not in seconds. So a process that was itself paused waits for the
    full time after it wakes before it calls the other one silent.
    """

    def __init__(self, connection: socket.socket):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection, self._received = connection, bytearray()
        self._writing, self._closed = threading.Lock(), threading.Event()
        self.silent = False
        connection.settimeout(BEAT_SECONDS)

    def keep_alive(self) -> None:
        """Sends beats from now on, in a thread of its own."""
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        while not self._closed.wait(BEAT_SECONDS):
            self.send("beat")

    def send(self, *message: Any) -> None:
        """Sends a message; if the connection is lost, only `receive` reports it."""
        data = memoryview(json.dumps(message).encode() + b"\n")
        if len(data) > MESSAGE_BYTES:
            raise ValueError(f"a message of {len(data)} bytes; at most {MESSAGE_BYTES} are read")
        stalled = 0
        with self._writing, contextlib.suppress(OSError):
            while data:
                try:
                    data = data[self._connection.send(data) :]
                    stalled = 0
                except TimeoutError:
                    stalled += 1
                    if stalled == SILENT_BEATS:
                        return self.close()  # half a message was sent: nothing can follow it
        return None

    def receive(self, limit: int = MESSAGE_BYTES, deadline: float = math.inf) -> list[Any]:
        """Returns the next message that is not a beat, `[]` if none can come any more.

        Args:
            limit: largest number of bytes that a message may have.
            deadline: time, by `time.monotonic()`, by which the whole message has to be there.
        """
        message = ["beat"]
        while message == ["beat"]:
            message = _parse(self._read_line(limit, deadline))
        return message

    def _read_line(self, limit: int, deadline: float) -> bytes:
        quiet = searched = 0
        while (end := self._received.find(b"\n", searched)) < 0:
            searched, left = len(self._received), deadline - time.monotonic()
            self.silent = quiet == SILENT_BEATS
            if self.silent or left <= 0 or searched > limit:
                return b""
            try:
                self._connection.settimeout(min(left, BEAT_SECONDS))
                chunk = self._connection.recv(_CHUNK_BYTES)
            except TimeoutError:
                quiet += 1
                continue
            except OSError:
                return b""
            if not chunk:
                return b""
            quiet = 0
            self._received += chunk
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        return line if end <= limit else b""

    def close(self) -> None:
        """Closes the connection; whoever waits for a message here gets none."""
        self._closed.set()
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()


def _parse(line: bytes) -> list[Any]:
    """Parses a message; returns `[]` for anything else."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):  # bad UTF-8 is a ValueError
        return []
    return message if isinstance(message, list) else []
