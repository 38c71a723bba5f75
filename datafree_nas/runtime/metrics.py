"""Metrics over time: `metrics.jsonl` beside the artifact, and TensorBoard events."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter  # as in SummaryWriter, without its thread
from tensorboardX.proto import event_pb2
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.summary import scalar

from datafree_nas.runtime import mirror
from datafree_nas.runtime.files import make_directory, read_jsonl, write_jsonl, writing


class MetricsWriter:
    """Writes one row per call, after removing the rows that a resumed loop will write again.

    Args:
        directory: folder for `metrics.jsonl`, and TensorBoard's files in `tensorboard/`.
        resume_at: iteration at which the loop resumes; rows with a larger `step` are removed.
        events: whether TensorBoard's files are written.
    """

    def __init__(self, directory: Path, resume_at: int = 0, events: bool = True):
        self._directory = make_directory(directory)
        path = directory / "metrics.jsonl"
        write_jsonl(path, [row for row in read_jsonl(path) if row["step"] <= resume_at])
        self._file = path.open("a")
        self._events = None
        if events:
            make_directory(directory / "tensorboard")
            self._events = EventsWriter(str(directory / "tensorboard" / "events"))
            taken_back = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._add(Event(step=resume_at + 1, session_log=taken_back))

    def write(self, step: int, values: Mapping[str, float], **labels: int | str) -> None:
        """Writes one row: `step`, the labels, and the values."""
        row = {"step": step, **labels, **{k: float(v) for k, v in values.items()}}
        with writing(self._directory):
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()
            if self._events:
                for name, value in values.items():
                    self._add(Event(step=step, summary=scalar(name, float(value))))
                self._events.flush()

    def _add(self, event: Event) -> None:
        if self._events:
            event.wall_time = time.time()
            self._events.write_event(event)

    def save(self) -> None:
        """Copies the rows so far to the bucket, if the workdir is in one, as checkpoints are."""
        mirror.push(self._directory / "metrics.jsonl")

    def close(self) -> None:
        """Closes the files, with all rows in them."""
        with writing(self._directory):
            self._file.close()
            if self._events:
                self._events.close()
        self.save()
