"""Several roll calls in one process: a thread for each."""

import math
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from datafree_nas.runtime import line as line_module
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.rollcall import RollCall
from tests.runtime.peers import Heard, Peer, coordinator, free_port
from tests.runtime.test_line import GARBAGE


@pytest.fixture
def meet():
    calls = []

    def start(count, timeout=5.0, present=None, host="127.0.0.1"):
        port, events = free_port(host), [Heard() for _ in range(count)]

        def one(index):
            return RollCall((host, port), count, index, timeout, events[index])

        with ThreadPoolExecutor(count) as pool:
            futures = [pool.submit(one, i) for i in (range(count) if present is None else present)]
        calls.extend(f.result() for f in futures if not f.exception())
        return futures, events

    yield start
    for call in calls:
        call.leave()


def _all(calls, function):
    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(function, calls))


def test_everyone_gets_everyones_value_in_order(meet):
    calls = [f.result() for f in meet(3)[0]]
    for round_ in range(50):
        found = _all(calls, lambda c, r=round_: c.gather([c.index, r / 3, math.pi]))
        assert found == [[[i, round_ / 3, math.pi] for i in range(3)]] * 3


def test_who_is_missing_is_named_to_everyone(meet):
    futures, _ = meet(4, timeout=0.5, present=[0, 2])
    for future in futures:
        line = str(future.exception())
        assert isinstance(future.exception(), UserError)
        assert "of 4 processes that were to meet at 127.0.0.1:" in line
        assert "these are missing: 1, 3; start them" in line


def test_a_coordinator_who_does_not_come(meet):
    (future,), _ = meet(2, timeout=0.3, present=[1])
    assert isinstance(future.exception(), UserError)
    line = str(future.exception())
    assert line.startswith("process 1 has not reached the coordinator, process 0, at 127.0.0.1:")
    assert "Connection refused" in line


def test_a_number_that_is_taken(meet):
    futures, _ = meet(3, timeout=1.0, present=[0, 1, 1])
    lines = sorted(str(future.exception()) for future in futures)
    assert "these are missing: 2" in lines[0]
    assert lines[0] == lines[1]
    assert "refused process 1 of 3: that number is taken" in lines[2]


def test_a_taken_port_is_one_line():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()[:2]
        with pytest.raises(UserError, match="choose another port for --coordinator"):
            RollCall(address, 2, 0, 1.0, Heard())


def test_an_address_of_another_machine():
    with pytest.raises(UserError, match=r"listen on 203.0.113.7:4711, which is no address of this"):
        RollCall(("203.0.113.7", 4711), 2, 0, 1.0, Heard())


@pytest.mark.parametrize("host", ["::1", "localhost"])
def test_other_names_of_this_machine(meet, host):
    if host == "::1" and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    assert [f.result().count for f in meet(2, host=host)[0]] == [2, 2]


@pytest.mark.parametrize("who", [0, 1])
def test_a_stop_reaches_everyone_else(meet, who):
    futures, events = meet(3)
    futures[who].result().stop(15)
    for other in {0, 1, 2} - {who}:
        assert events[other].next() == ("stopped", 15)
    assert events[who].queue.empty()


@pytest.mark.parametrize("who", [0, 2])
def test_a_loss_is_known_to_everyone_at_once(meet, who):
    futures, events = meet(3)
    dead = futures[who].result()
    dead.left = True  # its own threads would tell of what they see, and a dead process has none
    for line in dead._lines.values():  # as the kernel does then
        line._connection.shutdown(socket.SHUT_RDWR)
    began = time.monotonic()
    for other in {0, 1, 2} - {who}:
        assert events[other].next() == (who, None, "was lost")
    assert time.monotonic() - began < 1


@pytest.fixture
def fast_beats(monkeypatch):
    monkeypatch.setattr(line_module, "BEAT_SECONDS", 0.05)


def test_whoever_says_nothing_is_lost(fast_beats):
    """A process that is stopped, or whose machine is gone; it is told, should it wake up."""
    with coordinator(count=3) as (port, first, events):
        frozen, second = Peer(port, count=3), Heard()
        third = RollCall(("127.0.0.1", port), 3, 2, 5.0, second)
        assert first.result()
        said = "has been silent for 0 s"
        assert events.next() == (1, None, said)
        assert second.next() == (1, None, said)
        heard = iter(frozen.read, ["ended", 1, None, said])
        assert [message for message in heard if message != ["beat"]] == [["go"]]
        frozen.close()
        third.leave()


def test_a_coordinator_who_says_nothing_is_lost(fast_beats, monkeypatch):
    with coordinator() as (port, first, _):
        events = Heard()
        RollCall(("127.0.0.1", port), 2, 1, 5.0, events)
        first.result()._lines[1]._closed.set()  # no more beats
        assert events.next() == (0, None, "has been silent for 0 s")


def test_nobody_is_lost_who_has_nothing_to_say(fast_beats, meet):
    futures, events = meet(3)
    time.sleep(3 * 0.05 * line_module.SILENT_BEATS)
    assert all(each.queue.empty() for each in events)
    assert _all([f.result() for f in futures], lambda c: c.gather(c.index)) == [[0, 1, 2]] * 3


MESSAGES = {
    **GARBAGE,
    "a gather without a value": b'["gather", 1]\n',
    "a gather without a number": b'["gather", "1", 2]\n',
    "too few answers": b'["answer", 1, [1]]\n',
    "no signal": b'["stop", 1000]\n',
    "no process": b'["ended", "1", 2, ""]\n',
    "no status": b'["ended", 1, 70000, ""]\n',
    "another kind": b'["sing"]\n',
}


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_whoever_talks_nonsense_is_lost(message):
    with coordinator() as (port, first, events):
        peer = Peer(port)
        assert first.result()
        peer.socket.sendall(message)
        peer.socket.shutdown(socket.SHUT_WR)
        assert events.next() == (1, None, "was lost")
        peer.close()


def test_whoever_leaves_says_why(meet):
    futures, events = meet(3)
    futures[1].result().leave(2, "error: a mistake")
    for other in (0, 2):
        assert events[other].next() == (1, 2, "error: a mistake")


def test_nobody_who_has_left_hears_of_the_others(meet):
    futures, events = meet(2)
    _all([f.result() for f in futures], lambda call: (call.gather(None), call.leave()))
    time.sleep(0.2)
    told = [e.queue.get() for e in events if not e.queue.empty()]
    assert all(status == 0 for _, status, _ in told)
    assert threading.active_count() < 50
