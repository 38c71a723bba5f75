"""Numbers over time: `metrics.jsonl` beside the artifact, and TensorBoard events."""

import json
from collections.abc import Mapping
from pathlib import Path

from tensorboardX import SummaryWriter

from datafree_nas.runtime.files import read_jsonl, write_jsonl


class MetricsWriter:
    """Writes one row a call; rows past a resumed iteration are taken back first.

    Args:
        directory: gets `metrics.jsonl`, and TensorBoard's files in `tensorboard/`.
        resume_at: rows with a larger `step` are dropped; the loop will write them again.
        events: whether TensorBoard is written at all.
    """

    def __init__(self, directory: Path, resume_at: int = 0, events: bool = True):
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / "metrics.jsonl"
        write_jsonl(path, [row for row in read_jsonl(path) if row["step"] <= resume_at])
        self._file = path.open("a")
        self._events = None
        if events:
            self._events = SummaryWriter(str(directory / "tensorboard"), purge_step=resume_at + 1)

    def write(self, step: int, values: Mapping[str, float], **labels: int | str) -> None:
        """One row: `step`, the labels, and the values."""
        row = {"step": step, **labels, **{k: float(v) for k, v in values.items()}}
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        if self._events:
            for name, value in values.items():
                self._events.add_scalar(name, float(value), step)

    def close(self) -> None:
        """Flushes both."""
        self._file.close()
        if self._events:
            self._events.close()
