"""Progress: a bar with rate and remaining time on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Mapping

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

from datafree_nas.runtime.terminal import printable

LINE_SECONDS = 10.0


class ProgressBar:
    """Shows how far a loop is.

    Args:
        label: name of the loop.
        total: number of iterations in all.
        unit: name of the iterations, in the plural.
        start: number of iterations that an earlier process has done.
        quiet: whether to show nothing, as in all processes but the first.
    """

    def __init__(self, label: str, total: int, unit: str, start: int = 0, quiet: bool = False):
        self._label, self._total, self._unit = printable(label), total, unit
        self._start = self._done = start
        self._began = self._said = time.monotonic()
        self._bar: RichProgress | None = None
        self._quiet = quiet
        if sys.stderr.isatty() and not quiet:
            self._bar = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[values]}"),
            )
            self._task = self._bar.add_task(label, total=total, completed=start, rate="", values="")
            self._bar.start()
        elif start:
            self._line("resumed")

    def update(self, done: int, values: Mapping[str, float]) -> None:
        """Shows that `done` iterations are finished, with the newest metrics."""
        self._done = done
        shown = "  ".join(f"{k} {v:.4g}" for k, v in list(values.items())[:4])
        if self._bar is not None:
            rate = f"{self._rate():.3g} {self._unit}/s"
            self._bar.update(self._task, completed=done, rate=rate, values=shown)
        elif time.monotonic() - self._said >= LINE_SECONDS or done == self._total:
            self._line(shown)

    def _rate(self) -> float:
        return (self._done - self._start) / max(time.monotonic() - self._began, 1e-9)

    def _line(self, rest: str) -> None:
        if self._quiet:
            return
        self._said = time.monotonic()
        rate = self._rate()
        left = f"{(self._total - self._done) / rate:.0f} s left" if rate else "- s left"
        head = f"{self._label}: {self._done}/{self._total} {self._unit}"
        print(f"{head}  {rate:.3g} {self._unit}/s  {left}  {rest}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Stops the bar, and restores the terminal."""
        if self._bar is not None:
            self._bar.stop()
