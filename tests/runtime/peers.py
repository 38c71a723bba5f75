"""Roll calls in threads of a test, and peers that are none."""

import contextlib
import hmac
import json
import os
import queue
import socket
import time
from concurrent.futures import ThreadPoolExecutor

from datafree_nas.runtime.rollcall import Events, RollCall


def free_port(host="127.0.0.1"):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as server:
        return server.getsockname()[1]


class Heard(Events):
    """Writes down what happens."""

    def __new__(cls):
        heard = queue.Queue()
        events = super().__new__(
            cls, stopped=lambda *a: heard.put(("stopped", *a)), ended=lambda *a: heard.put(a)
        )
        events.queue = heard
        return events

    def next(self):
        return self.queue.get(timeout=5)


@contextlib.contextmanager
def coordinator(count=2, timeout=5.0, host="127.0.0.1"):
    """`(port, future, events)` of a process 0 that waits for the others in a thread."""
    port, events = free_port(host), Heard()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(RollCall, (host, port), count, 0, timeout, events)
        try:
            yield port, future, events
        finally:
            if not future.exception():
                future.result().leave()


def connect(port, host="127.0.0.1"):
    """A connection to a process 0, which may need a moment to listen."""
    ends = time.monotonic() + 5
    while True:
        try:
            return socket.create_connection((host, port), timeout=5)
        except ConnectionRefusedError:
            assert time.monotonic() < ends
            time.sleep(0.01)


class Peer:
    """A connection that says a process's hello and from then on only what the test says."""

    def __init__(self, port, index=1, count=2, token=None):
        self.socket = connect(port)
        self.file = self.socket.makefile("rb")
        kind, nonce = self.read()
        assert kind == "who"
        token = os.environ.get("DATAFREE_NAS_TOKEN", "") if token is None else token
        said = f"{nonce} {index} {count}".encode()
        proof = hmac.new(token.encode(), said, "sha256").hexdigest()
        self.send(["here", index, count, proof])
        self.answer = self.read()

    def send(self, message):
        self.socket.sendall(json.dumps(message).encode() + b"\n")

    def read(self):
        """The next message, None after the last one."""
        return json.loads(self.file.readline() or b"null")

    def close(self):
        self.file.close()
        self.socket.close()
