"""Messages between two ends of a connection, and bytes that are none."""

import json
import socket
import threading
import time

import pytest

from datafree_nas.runtime import line as line_module
from datafree_nas.runtime.line import Line

GARBAGE = {
    "a number": b"1\n",
    "null": b"null\n",
    "an object": b'{"here": 1}\n',
    "an empty list": b"[]\n",
    "an empty line": b"\n",
    "HTTP": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + bytes(range(200)) + b"\n",
    "bad UTF-8": b'["\xff\xfe\xc3("]\n',
    "UTF-16": '["beat"]\n'.encode("utf-16"),
    "half a string": b'["here\n',
    "deep nesting": b"[" * 1000 + b"\n",
    "deeper nesting": b"[" * 100_000 + b"]" * 100_000 + b"\n",
    "a long number": b"[" + b"9" * 5000 + b"]\n",
    "zeros": bytes(1000) + b"\n",
}


@pytest.fixture
def ends():
    """A line, and the socket at its other end."""
    here, there = _tcp_pair()
    line = Line(here)
    yield line, there
    line.close()
    there.close()


def _tcp_pair():
    with socket.create_server(("127.0.0.1", 0)) as server:
        there = socket.create_connection(server.getsockname())
        return server.accept()[0], there


def test_messages_arrive_whole_and_in_order(ends):
    line, there = ends
    messages = [["a", [1, 2.5, None, "é\n"]], ["b", "x" * 300_000], ["c"]]
    data = b"".join(json.dumps(m).encode() + b"\n" for m in messages)
    threading.Thread(target=there.sendall, args=(data,)).start()
    assert [line.receive() for _ in messages] == messages


def test_a_message_in_pieces(ends):
    line, there = ends
    for piece in (b'["a', b'", 1', b"]"):
        there.sendall(piece)
        time.sleep(0.02)
    there.sendall(b'\n["b"]\n')
    assert [line.receive(), line.receive()] == [["a", 1], ["b"]]


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
def test_no_bytes_raise(ends, data):
    line, there = ends
    there.sendall(data)
    there.shutdown(socket.SHUT_WR)
    assert line.receive() == []
    assert not line.silent


def test_nothing_longer_than_the_limit_is_kept(ends):
    line, there = ends
    flood = threading.Thread(target=_flood, args=(there,), daemon=True)
    flood.start()
    assert line.receive(limit=1000) == []
    assert len(line._received) < 1000 + 2 * line_module._CHUNK_BYTES
    line.close()
    flood.join(timeout=5)
    assert not flood.is_alive(), "the connection is closed"


def _flood(there):
    try:
        while True:
            there.sendall(b"x" * 100_000)
    except OSError:
        pass


def test_a_longer_line_than_the_limit(ends):
    line, there = ends
    there.sendall(b'["' + b"x" * 2000 + b'"]\n')
    assert line.receive(limit=1000) == []


def test_a_byte_now_and_then_does_not_put_off_the_deadline(ends):
    line, there = ends
    ended = threading.Event()

    def drip():
        while not ended.wait(0.02):
            there.sendall(b"[")

    dripping = threading.Thread(target=drip)
    dripping.start()
    began = time.monotonic()
    assert line.receive(deadline=began + 0.2) == []
    assert 0.2 <= time.monotonic() - began < 1
    ended.set()
    dripping.join()


def test_silence(ends, monkeypatch):
    monkeypatch.setattr(line_module, "BEAT_SECONDS", 0.02)
    line, there = ends
    there.sendall(b'["beat"]\n["a"]\n["beat"]\n')
    assert line.receive() == ["a"]
    assert line.receive() == []
    assert line.silent


def test_beats_keep_a_line_alive(monkeypatch):
    monkeypatch.setattr(line_module, "BEAT_SECONDS", 0.02)
    here, there = map(Line, _tcp_pair())
    for line in (here, there):
        line.keep_alive()
    threading.Timer(0.5, lambda: there.send("late")).start()
    assert here.receive() == ["late"]
    here.close()
    assert there.receive() == []
    assert not there.silent, "it was told"
    there.close()


def test_whoever_does_not_read_is_given_up(ends, monkeypatch):
    monkeypatch.setattr(line_module, "BEAT_SECONDS", 0.02)
    line, _ = ends
    line._connection.settimeout(0.02)
    line.send("a", "x" * 30_000_000)
    assert line.receive() == []


def test_a_message_that_nobody_would_accept(ends, monkeypatch):
    monkeypatch.setattr(line_module, "MESSAGE_BYTES", 1000)
    with pytest.raises(ValueError, match="at most 1000 are read"):
        ends[0].send("a", "x" * 1000)
