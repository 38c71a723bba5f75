"""Strangers on the port on which the processes of a run meet."""

import contextlib
import json
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from datafree_nas.runtime import door
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.rollcall import RollCall
from tests.runtime.peers import Heard, Peer, connect, coordinator
from tests.runtime.test_line import GARBAGE

HELLOS = {
    **GARBAGE,
    "no proof": b'["here", 1, 2]\n',
    "a number as proof": b'["here", 1, 2, 3]\n',
    "a wrong proof": b'["here", 1, 2, "00"]\n',
    "a proof that is no text": b'["here", 1, 2, "\\ud800"]\n',
    "words for numbers": b'["here", "1", "2", ""]\n',
    "fractions": b'["here", 1.0, 2.0, ""]\n',
    "truths": b'["here", true, 2, ""]\n',
    "too large numbers": b'["here", 1e400, NaN, ""]\n',
    "another kind": b'["go"]\n',
}


def _join(port, index=1, count=2, timeout=5.0):
    return RollCall(("127.0.0.1", port), count, index, timeout, Heard())


@pytest.mark.parametrize("hello", HELLOS.values(), ids=HELLOS)
def test_garbage_is_sent_away_and_the_others_meet(hello):
    with coordinator() as (port, first, _), connect(port) as stranger:
        stranger.sendall(hello)
        stranger.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):  # it has not read everything
            while stranger.recv(1000):
                pass
        second = _join(port)
        assert first.result().count == 2
        second.leave()


def test_a_flood_without_a_newline_is_cut_off():
    with coordinator() as (port, _, _), connect(port) as stranger:
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 1 << 30:
                sent += stranger.send(b"x" * 100_000)
        assert sent < 20_000_000, "what the system's buffers hold"
        _join(port).leave()


def test_silent_connections_hold_up_nobody():
    with coordinator() as (port, _, _), contextlib.ExitStack() as open_:
        for _ in range(3 * door.MOST_WAITING):
            open_.enter_context(connect(port))
        began = time.monotonic()
        _join(port).leave()
        assert time.monotonic() - began < 2


def test_a_crowd_that_comes_again_and_again_holds_up_nobody():
    ended = threading.Event()

    def crowd(port):
        while not ended.is_set():
            with contextlib.suppress(OSError), contextlib.ExitStack() as open_:
                for _ in range(20):
                    open_.enter_context(socket.create_connection(("127.0.0.1", port), timeout=1))

    with coordinator(timeout=20) as (port, _, _), ThreadPoolExecutor() as pool:
        connect(port).close()
        crowds = [pool.submit(crowd, port) for _ in range(4)]
        second = _join(port, timeout=20)
        ended.set()
        second.leave()
        for each in crowds:
            each.result()


def test_a_byte_now_and_then_does_not_put_off_the_start_timeout():
    with coordinator(timeout=0.5) as (port, first, _), connect(port) as stranger:
        began = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - began < 5:
                stranger.sendall(b"[")
                time.sleep(0.02)
        assert time.monotonic() - began < 2
        assert "these are missing: 1" in str(first.exception())


def test_a_hello_has_its_time(monkeypatch):
    monkeypatch.setattr(door, "HELLO_SECONDS", 0.1)
    with coordinator() as (port, _, _), connect(port) as stranger:
        assert json.loads(stranger.recv(1000))[0] == "who"
        assert stranger.recv(1) == b"", "closed"
        _join(port).leave()


@pytest.mark.parametrize("theirs", ["", "another", "secret ", "tön"])
def test_another_token_is_refused(monkeypatch, theirs):
    monkeypatch.setenv(door.TOKEN, "secret")
    with coordinator() as (port, _, _):
        stranger = Peer(port, token=theirs)
        assert stranger.answer == ["refused", "token"]
        assert stranger.read() is None
        stranger.close()
        _join(port).leave()


def test_a_token_need_not_be_text(monkeypatch):
    monkeypatch.setenv(door.TOKEN, os.fsdecode(b"\xff\xfe"))
    with coordinator() as (port, _, _):
        _join(port).leave()


@contextlib.contextmanager
def _listener(*answers):
    """A port on which each connection gets the next answer; and the hellos it has got."""
    hellos = []

    def serve(server):
        for answer in answers:
            with server.accept()[0] as connection, connection.makefile("rb") as file:
                connection.sendall(b'["who", "00"]\n')
                hellos.append(file.readline())
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        served = pool.submit(serve, server)
        yield server.getsockname()[1], hellos
        served.result(timeout=5)


def test_whoever_is_refused_says_why(monkeypatch):
    monkeypatch.setenv(door.TOKEN, "secret")
    with (
        _listener(b'["refused", "token"]\n') as (port, hellos),
        pytest.raises(UserError, match=r"refused process 1 of 2: .* set DATAFREE_NAS_TOKEN alike"),
    ):
        _join(port)
    assert b"secret" not in hellos[0], "it is proved, not said"


def test_a_door_that_is_crowded_is_tried_again():
    with _listener(b"", b"", b"") as (port, hellos), pytest.raises(UserError, match="no answer"):
        _join(port, timeout=0.7)
    assert len(hellos) == 3


@pytest.mark.parametrize(
    "greeting", [b"SSH-2.0-OpenSSH_9.9\r\n", b"null\n", b'["who", "\\ud800"]\n']
)
def test_somebody_else_listens_there(greeting):
    def serve(server):
        with server.accept()[0] as connection:
            connection.sendall(greeting)

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        pool.submit(serve, server)
        with pytest.raises(UserError, match="process 1 has not reached the coordinator"):
            _join(server.getsockname()[1], timeout=0.3)


def test_a_place_is_free_again_when_its_process_has_died():
    with coordinator(count=3) as (port, first, _), ThreadPoolExecutor() as pool:
        died = Peer(port, count=3)
        assert died.answer == ["welcome"]
        died.close()
        others = [pool.submit(_join, port, index, 3) for index in (1, 2)]
        assert first.result().count == 3
        for other in others:
            other.result().leave()


def test_a_place_of_one_who_lives_is_not_free():
    with coordinator(count=3, timeout=1) as (port, first, _):
        alive, double = Peer(port, count=3), Peer(port, count=3)
        assert (alive.answer, double.answer) == (["welcome"], ["refused", "number"])
        assert "these are missing: 2" in str(first.exception())
        assert alive.read() == ["missing", [2]]
        alive.close()
        double.close()


@pytest.mark.parametrize("last", [b"", b'["ended", 1, 2, "a mistake"]\n', *GARBAGE.values()])
def test_whoever_dies_while_all_wait_is_missing(last):
    with coordinator(count=3, timeout=0.5) as (port, first, events):
        died = Peer(port, count=3)
        died.socket.sendall(last)
        died.close()
        assert "these are missing: 1, 2" in str(first.exception())
        assert events.queue.empty()
