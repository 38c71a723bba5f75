"""Runs that are killed at random moments and started again at once end in the same summary.

Of one process, of two of which one is killed, and of one whose workdir is in a bucket.
"""

import shutil
import signal
import time

import numpy as np
import pytest

from tests import local_bucket, processes

KILLS = 20
LOST = 75


class _Kind:
    """How a run is started, and where its summary is in the end."""

    def __init__(self, folder, name):
        self.processes = 2 if name == "two processes" else 1
        self.bucket = name == "a bucket"
        self.command = local_bucket.MAIN if self.bucket else processes.MAIN
        self.workdir = f"gs://runs/{folder.name}" if self.bucket else str(folder)
        self.summary = folder / "report" / "summary.json"

    def start(self):
        return processes.start(self.workdir, processes=self.processes, command=self.command)


def _others(started, victim):
    """How the others end; those that still wait for a process that never came are stopped."""
    others = [number for number in range(len(started)) if number != victim]
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and any(started[n].poll() is None for n in others):
        time.sleep(0.1)
    for number in others:
        started[number].send_signal(signal.SIGTERM)
    ended = processes.finish(started, timeout=120)
    return [(number, *ended[number]) for number in others]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one process", "two processes", "a bucket"])
def test_kills(name, tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_BUCKETS", str(tmp_path))
    (tmp_path / "runs").mkdir()
    whole, killed = (_Kind(tmp_path / "runs" / each, name) for each in ("whole", "killed"))
    began = time.monotonic()
    assert [status for status, _ in processes.finish(whole.start())] == [0] * whole.processes
    longest = 0.5 * (time.monotonic() - began)
    generator = np.random.default_rng(11)
    for kill in range(KILLS):
        started = killed.start()
        time.sleep(generator.uniform(0.5, longest))
        victim = int(generator.integers(killed.processes))
        started[victim].kill()
        for number, status, output in _others(started, victim):
            assert status in (0, LOST, 128 + signal.SIGTERM), (kill, number, output[-3000:])
        if (killed.summary.parent / "done.json").exists():  # it has to be killed in the middle
            assert killed.summary.read_bytes() == whole.summary.read_bytes()
            shutil.rmtree(tmp_path / "runs" / "killed")
    ended = processes.finish(killed.start())
    assert [status for status, _ in ended] == [0] * killed.processes, ended
    assert killed.summary.read_bytes() == whole.summary.read_bytes()
