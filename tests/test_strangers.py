"""Garbage on every port of a run of two processes: it ends as if nobody had sent any."""

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import chex
import pytest

from datafree_nas.runtime.checkpoint import load_variables
from datafree_nas.runtime.processes import PORT_BELOW
from tests import processes, splitting, strangers

SPLITTING = {"processes": 2, "command": splitting.MAIN}
TIMEOUT = 1800
ALONE_SECONDS = 4  # in which process 0 waits for process 1 among strangers


def _run(workdir, *flags):
    processes.run(workdir, *flags, timeout=TIMEOUT, **SPLITTING)


def _run_among_strangers(workdir, *flags, seconds):
    """From the start on, and for so many seconds after the processes have met."""
    port = processes.free_port()
    started = processes.start(workdir, *flags, present=[0], port=port, **SPLITTING)
    with ThreadPoolExecutor(1) as pool:
        bothering = pool.submit(strangers.bother, started, port, seconds)
        time.sleep(ALONE_SECONDS)
        started += processes.start(workdir, *flags, present=[1], port=port, **SPLITTING)
        ended = processes.finish(started, TIMEOUT)
    for status, output in ended:
        assert status == 0, output[-5000:]
        assert "Traceback" not in output
    bothered = {address[1] for address in bothering.result()}
    assert {port, port - PORT_BELOW} < bothered, "and gloo's, which the machine chooses"


@pytest.mark.slow  # on cores that other tests use, collectives may run into their own time limits
def test_ten_seconds_of_garbage_on_every_port(tmp_path):
    teachers = []
    for name, run in (("quiet", _run), ("bothered", partial(_run_among_strangers, seconds=10))):
        run(tmp_path / name, "--stages=teacher")
        teachers.append(load_variables(tmp_path / name / "teacher" / "variables"))
    chex.assert_trees_all_equal(*teachers)


@pytest.mark.slow
def test_a_minute_of_garbage_on_every_port(tmp_path):
    _run(tmp_path / "quiet")
    _run_among_strangers(tmp_path / "bothered", seconds=60)
    quiet, bothered = (
        (tmp_path / name / "report" / "summary.json").read_bytes() for name in ("quiet", "bothered")
    )
    assert bothered == quiet
