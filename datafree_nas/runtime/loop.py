"""The one loop of the project: repeats a pure step, shows progress, saves, resumes and stops."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from datafree_nas.runtime import mesh, processes
from datafree_nas.runtime.checkpoint import Progress
from datafree_nas.runtime.errors import Interrupted, UserError
from datafree_nas.runtime.feed import Feed, Fixed
from datafree_nas.runtime.metrics import MetricsWriter
from datafree_nas.runtime.progress import ProgressBar

CHECKPOINT_SECONDS = 20.0
LOOK_SECONDS = 2.0  # approximate time of work between two checks for signals


class Phase(NamedTuple):
    """A stretch of a loop in which every iteration does the same.

    Attributes:
        name: name of the phase in progress lines and metrics.
        iterations: number of iterations in the phase.
        advance: function `(state, data, n) -> (state, metrics)` that does n iterations; see
            `repeat.repeat`.
        every: number of iterations between two rows of metrics.
        enter: function that changes the state when the phase begins, e.g. resets the optimizer.
        unit: name of the iterations in progress lines.
        at_once: smallest number of iterations in one call, e.g. the number of processes if each of
            them does one.
    """

    name: str
    iterations: int
    advance: Callable[[Any, Any, int], tuple[Any, Mapping[str, jax.Array]]]
    every: int = 1
    enter: Callable[[Any], Any] = lambda state: state
    unit: str = "steps"
    at_once: int = 1


def run_phases(
    phases: Sequence[Phase],
    state: Any,
    data: Any,
    *,
    label: str,
    directory: Path,
    writer: Callable[[int], MetricsWriter] | None = None,
) -> Any:
    """Runs the phases one after another on one state, going on from the last checkpoint.

    Args:
        phases: phases to run; to resume a run, they need the same order and lengths as before.
        state: one pytree of everything that changes.
        data: arrays that the steps read and never change, or a `Feed` of such arrays.
        label: text at the beginning of progress lines.
        directory: folder of the loop's checkpoints; the caller removes it with
            `checkpoint.discard(directory)` once the result is safe.
        writer: function `first iteration -> writer` that opens the metrics; None for no metrics.

    Returns:
        The final state.

    Raises:
        Interrupted: after a signal, with the state saved.
        UserError: a metric is not finite; the message names phase, iteration and all metrics.
    """
    progress = Progress(directory)
    done, state = progress.restore(state)
    metrics_writer = writer(done) if writer and processes.primary() else None
    first, feed = 0, data if isinstance(data, Feed) else Fixed(data)
    try:
        for phase in phases:
            last = first + phase.iterations
            if done < last:
                state = phase.enter(state) if done == first else state
                state = _run_phase(phase, state, feed, done, first, label, progress, metrics_writer)
                done = last
            first = last
    finally:
        progress.close()
        feed.close()
        if metrics_writer:
            metrics_writer.close()
    return state


class _Pace:
    """Number of iterations between two checks for signals, which take about `LOOK_SECONDS`.

    The number begins small, because their time is not known, and at most doubles each time. The
    first process decides, because all have to do the same number.
    """

    def __init__(self, at_once: int):
        self._at_once, self._looked = at_once, time.monotonic()
        self.iterations = at_once

    def look(self, done: int) -> float:
        """Adapts the number after `done` iterations; returns the seconds that they took."""
        now = time.monotonic()
        seconds, self._looked = max(now - self._looked, 1e-9), now
        fitting = min(int(done * LOOK_SECONDS / seconds), 2 * self.iterations)
        self.iterations = processes.from_first(max(self._at_once, fitting))
        return seconds


def _run_phase(
    phase: Phase,
    state: Any,
    feed: Feed | Fixed,
    done: int,
    first: int,
    label: str,
    progress: Progress,
    writer: MetricsWriter | None,
) -> Any:
    last = first + phase.iterations
    name = f"{label} · {phase.name}" if phase.name else label
    bar = ProgressBar(name, phase.iterations, phase.unit, done - first, not processes.primary())
    pace, saved = _Pace(phase.at_once), time.monotonic()
    try:
        while done < last:
            to_row = phase.every - (done - first) % phase.every
            n = min(to_row, last - done, pace.iterations, feed.left(done))
            part, waited = feed.at(done)
            state, metrics = phase.advance(state, part, n)
            done += n
            values = {k: float(v) for k, v in jax.device_get(metrics).items()}
            seconds = pace.look(n)
            if waited is not None:
                values["waiting"] = waited / seconds
            _check_finite(values, f"{name}, iteration {done - first}")
            if writer and (n == to_row or done == last):
                writer.write(done, values, phase=phase.name)
            bar.update(done - first, values)
            stop = processes.stop_requested()
            if stop or (done < last and time.monotonic() - saved > CHECKPOINT_SECONDS):
                if writer:
                    writer.save()
                progress.save(done, state)
                saved = time.monotonic()
            if stop:
                raise Interrupted(stop)
    finally:
        bar.close()
    return mesh.from_first(state)


def _check_finite(values: Mapping[str, float], where: str) -> None:
    if not all(math.isfinite(v) for v in values.values()):
        terms = ", ".join(f"{k}={v:g}" for k, v in values.items())
        raise UserError(
            f"not finite at {where}: {terms}; lower the learning rate or the weight of the term"
        )
