import os
import signal
import time
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datafree_nas.runtime import loop
from datafree_nas.runtime.errors import Interrupted, UserError
from datafree_nas.runtime.files import read_jsonl
from datafree_nas.runtime.interrupt import deferred_signals
from datafree_nas.runtime.loop import Phase
from datafree_nas.runtime.metrics import MetricsWriter

DATA = jnp.arange(3.0)
LENGTHS = {"coarse": 5, "fine": 4}
TOTAL = sum(LENGTHS.values())


def _start():
    return {"key": jax.random.key(0), "step": jnp.zeros((), jnp.int32), "x": jnp.zeros(3)}


def _advance(state, data, n):
    for _ in range(n):
        noise = jax.random.normal(jax.random.fold_in(state["key"], state["step"]), (3,))
        x = state["x"] * 0.9 + data + noise
        state = {"key": state["key"], "step": state["step"] + 1, "x": x}
    return state, {"loss": jnp.sum(x)}


class Run:
    """A loop of two phases that can be told when something happens; it writes down what it did."""

    def __init__(self, directory, happens=lambda: None, at=-1):
        self.directory, self.happens, self.at = directory, happens, at
        self.advanced, self.entered = [], []

    def __call__(self):
        phases = [
            Phase(name, n, self._advance_in(name), every=2, enter=self._enter(name))
            for name, n in LENGTHS.items()
        ]
        with deferred_signals():
            return loop.run_phases(
                phases,
                _start(),
                DATA,
                label="test",
                directory=self.directory / "working",
                writer=lambda start: MetricsWriter(self.directory, start, events=False),
            )

    def rows(self):
        return read_jsonl(self.directory / "metrics.jsonl")

    def _advance_in(self, name):
        def advance(state, data, n):
            before = int(state["step"])
            if before < self.at <= before + n:
                self.happens()
            self.advanced.append((name, n))
            return _advance(state, data, n)

        return advance

    def _enter(self, name):
        def enter(state):
            self.entered.append(name)
            return {**state, "x": state["x"] + len(name)}

        return enter


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run, and its final state."""
    run = Run(tmp_path_factory.mktemp("whole"))
    return run, run()


def test_phases_run_in_order_and_in_pieces(whole):
    run, state = whole
    assert run.entered == ["coarse", "fine"]
    assert _iterations(run) == LENGTHS
    assert all(n <= 2 for _, n in run.advanced), "no piece goes beyond the next row of metrics"
    assert [(r["phase"], r["step"]) for r in run.rows()] == [
        *(("coarse", s) for s in (2, 4, 5)),
        *(("fine", s) for s in (7, 9)),
    ]
    expected, _ = _advance({**_start(), "x": jnp.full(3, float(len("coarse")))}, DATA, 5)
    expected, _ = _advance({**expected, "x": expected["x"] + len("fine")}, DATA, 4)
    np.testing.assert_array_equal(state["x"], expected["x"])


def _iterations(run):
    """How many iterations of each phase were done."""
    total = Counter()
    for name, n in run.advanced:
        total[name] += n
    return total


def test_slow_iterations_are_looked_at_one_by_one(tmp_path, monkeypatch):
    """So that a signal need not wait for as many as there are between two rows of metrics."""
    monkeypatch.setattr(loop, "LOOK_SECONDS", 0.02)
    pieces = []

    def advance(state, data, n):
        pieces.append(n)
        time.sleep(0.02 * n)
        if len(pieces) == 3:
            _sigterm()
        return state + n, {"loss": jnp.float32(1)}

    phase = Phase("", 1000, advance, every=1000)
    with deferred_signals(), pytest.raises(Interrupted):
        loop.run_phases([phase], jnp.zeros(()), None, label="slow", directory=tmp_path / "working")
    assert pieces == [1, 1, 1]


def test_quick_iterations_are_done_many_at_a_time(tmp_path):
    pieces = []

    def advance(state, data, n):
        pieces.append(n)
        return state + n, {"loss": jnp.float32(1)}

    phase = Phase("", 1000, advance, every=1000, at_once=4)
    loop.run_phases([phase], jnp.zeros(()), None, label="quick", directory=tmp_path / "working")
    assert pieces[:4] == [4, 8, 16, 32]
    assert sum(pieces) == 1000


def _sigterm():
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("at", [1, 3, 5, 7, TOTAL], ids="stop at {}".format)
def test_a_stopped_run_goes_on_as_if_nothing_had_happened(at, whole, tmp_path):
    first = Run(tmp_path, _sigterm, at)
    with pytest.raises(Interrupted) as stop:
        first()
    assert stop.value.signum == signal.SIGTERM
    done = sum(n for _, n in first.advanced)
    assert done - 2 < at <= done  # it finished the piece that it was at, and no other

    second = Run(tmp_path)
    state = second()
    reference, expected = whole
    assert Counter(_iterations(first)) + Counter(_iterations(second)) == Counter(LENGTHS)
    assert first.entered + second.entered == ["coarse", "fine"]
    np.testing.assert_array_equal(state["x"], expected["x"])
    assert second.rows() == reference.rows()


class _Killed(Exception):
    pass


def _die():
    raise _Killed


@pytest.mark.parametrize("at", [4, 6, 9], ids="die at {}".format)
def test_a_killed_run_goes_on_from_its_last_checkpoint(at, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    with pytest.raises(_Killed):
        Run(tmp_path, _die, at)()
    second = Run(tmp_path)
    state = second()
    reference, expected = whole
    assert sum(n for _, n in second.advanced) < TOTAL
    np.testing.assert_array_equal(state["x"], expected["x"])
    assert second.rows() == reference.rows()


def test_a_finished_loop_does_nothing_again(tmp_path, whole):
    with pytest.raises(Interrupted):
        Run(tmp_path, _sigterm, at=TOTAL)()
    again = Run(tmp_path)
    np.testing.assert_array_equal(again()["x"], whole[1]["x"])
    assert again.advanced == again.entered == []


def test_loss_that_is_not_finite_stops_with_place_and_terms(tmp_path):
    def advance(state, data, n):
        bad = float("nan") if state >= 7 else 1.0
        return state + n, {"loss": jnp.float32(bad), "tv": jnp.float32(2)}

    phases = [Phase("coarse", 5, advance), Phase("fine", 9, advance, every=2)]
    with pytest.raises(UserError) as error:
        loop.run_phases(phases, 0, None, label="round 1, batch 2", directory=tmp_path / "working")
    assert str(error.value).startswith(
        "not finite at round 1, batch 2 · fine, iteration 4: loss=nan, tv=2; lower"
    )
