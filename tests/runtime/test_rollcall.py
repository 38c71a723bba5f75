"""Several roll calls in one process: a thread for each."""

import math
import queue
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.rollcall import Events, RollCall


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
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


@pytest.fixture
def meet():
    calls = []

    def start(count, timeout=5.0, present=None):
        port, events = free_port(), [Heard() for _ in range(count)]

        def one(index):
            return RollCall(("127.0.0.1", port), count, index, timeout, events[index])

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


def test_strangers_on_the_port_are_sent_away():
    port, events = free_port(), Heard()
    with ThreadPoolExecutor() as pool:
        first = pool.submit(RollCall, ("127.0.0.1", port), 2, 0, 5.0, events)
        time.sleep(0.2)
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        second = pool.submit(RollCall, ("127.0.0.1", port), 2, 1, 5.0, Heard())
    second.result().leave()
    first.result().leave()


def test_a_taken_port_is_one_line():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()[:2]
        with pytest.raises(UserError, match="choose another port for --coordinator"):
            RollCall(address, 2, 0, 1.0, Heard())


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
        assert events[other].next() == (who, None, "")
    assert time.monotonic() - began < 1


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
