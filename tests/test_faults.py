"""Faults, injected from outside: each ends in a run that goes on, or in one clear line.

docs/reliability.md lists them all, with those that other files test.
"""

import shutil
import signal
import socket
import subprocess
import time

import numpy as np
import pytest

from datafree_nas.synthesis import store
from tests import processes, splitting

ENDLESS = ["--stages=teacher", "--config.teacher.train.steps=1000000"]
LOST = 75


def _read_until(process, text):
    seen = ""
    for line in process.stdout:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"it ended without {text!r}: {seen[-3000:]}")


def _assert_one_line(output, beginning):
    assert "Traceback" not in output
    assert "Check failure" not in output, "JAX's own abort"
    (line,) = (line for line in output.splitlines() if line.startswith("error:"))
    assert line.startswith(beginning), line


@pytest.mark.full
@pytest.mark.parametrize(
    ("present", "message"),
    [
        (0, "error: after 2 s, of 2 processes that were to meet at 127.0.0.1:"),
        (1, "error: process 1 has not reached the coordinator, process 0, at 127.0.0.1:"),
    ],
)
def test_a_process_missing_at_the_start(tmp_path, present, message):
    started = processes.start(tmp_path, "--start_timeout=2", processes=2, present=[present])
    ((status, output),) = processes.finish(started, timeout=60)
    assert status == 2
    _assert_one_line(output, message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.full
@pytest.mark.parametrize("lost", [0, 1])
def test_a_process_lost_in_the_middle(tmp_path, lost):
    """The other one is waiting for it in a sum over the devices."""
    started = processes.start(tmp_path, *ENDLESS, processes=2, command=splitting.MAIN)
    _read_until(started[0], "train teacher")
    started[lost].kill()
    began = time.monotonic()
    ended = processes.finish(started, timeout=60)
    assert time.monotonic() - began < 20
    status, output = ended[1 - lost]
    assert status == LOST
    _assert_one_line(output, f"error: process {lost} was lost; everything saved so far is kept.")


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [0, 1])
def test_a_process_that_lives_and_does_nothing(tmp_path, stopped):
    """The other one ends, and so does this one when it wakes."""
    started = processes.start(tmp_path, *ENDLESS, processes=2, command=splitting.MAIN)
    _read_until(started[0], "train teacher")
    started[stopped].send_signal(signal.SIGSTOP)
    began = time.monotonic()
    ((status, output),) = processes.finish([started[1 - stopped]], timeout=90)
    assert 30 < time.monotonic() - began < 60
    assert status == LOST
    _assert_one_line(output, f"error: process {stopped} has been silent for 40 s; everything saved")
    started[stopped].send_signal(signal.SIGCONT)
    ((status, output),) = processes.finish([started[stopped]], timeout=60)
    assert status == LOST
    _assert_one_line(output, "error: process ")


@pytest.mark.slow
def test_processes_that_are_paused_together_go_on(tmp_path):
    """As on a machine that sleeps."""
    started = processes.start(tmp_path, *ENDLESS, processes=2, command=splitting.MAIN)
    _read_until(started[0], "train teacher")
    for signum, seconds in ((signal.SIGSTOP, 60), (signal.SIGCONT, 20), (signal.SIGTERM, 0)):
        for process in started:
            process.send_signal(signum)
        time.sleep(seconds)
    for status, output in processes.finish(started, timeout=60):
        assert status == 128 + signal.SIGTERM, output


@pytest.mark.full
def test_a_port_that_is_in_use(tmp_path):
    """JAX itself would end process 0 in a segmentation fault, and the others would wait."""
    port = processes.free_port()
    with socket.create_server(("127.0.0.1", port)):
        started = processes.start(tmp_path, processes=2, port=port)
        ended = processes.finish(started, timeout=60)
    for status, output in ended:
        assert status == 2
        _assert_one_line(output, f"error: process 0 cannot listen on 127.0.0.1:{port} (Address")


@pytest.mark.parametrize(
    "told", [pytest.param(0, marks=pytest.mark.full), pytest.param(1, marks=pytest.mark.slow)]
)
def test_a_signal_to_one_process_stops_all_and_they_go_on_together(tmp_path, told):
    started = processes.start(tmp_path, *ENDLESS, processes=2)
    _read_until(started[0], "train teacher")
    began = time.monotonic()
    started[told].send_signal(signal.SIGTERM)
    ended = processes.finish(started, timeout=60)
    assert time.monotonic() - began < 30
    for status, output in ended:
        assert status == 128 + signal.SIGTERM, output
        assert "interrupted: everything done so far is saved" in output
    again = processes.start(tmp_path, *ENDLESS, processes=2)
    _read_until(again[0], "resumed")
    for process in again:
        process.kill()
    processes.finish(again)


@pytest.mark.full
def test_four_devices_stop_and_one_or_eight_go_on(tmp_path):
    """What is split over the devices in synthesis, the pixels, is put together again.

    In steps so small that roundings, which differ with the devices, do not grow to other images.
    """
    flags = [
        "--stages=teacher,synthesize",
        "--config.synthesis.images=32",
        "--config.synthesis.resolutions=((2, 20), (1, 100))",
        "--config.synthesis.learning_rate=0.003",
        "--config.synthesis.log_every=1",
    ]
    processes.run(tmp_path / "whole", *flags)
    shutil.copytree(tmp_path / "whole" / "teacher", tmp_path / "four" / "teacher")
    (stopped,) = processes.start(tmp_path / "four", *flags, devices=4)
    _read_until(stopped, "resolution 1/2")
    stopped.send_signal(signal.SIGTERM)
    assert processes.finish([stopped])[0][0] == 128 + signal.SIGTERM
    assert list((tmp_path / "four" / "synthetic" / "working").iterdir())
    whole = store.load(tmp_path / "whole" / "synthetic").images.astype(int)
    for devices in (1, 8):
        workdir = tmp_path / str(devices)
        shutil.copytree(tmp_path / "four", workdir)
        (output,) = processes.run(workdir, *flags, devices=devices)
        first = "synthesize round 0, batch 0 · resolution 1/2"
        assert "resumed" in output or first not in output, "or it stopped between the resolutions"
        images = store.load(workdir / "synthetic").images.astype(int)
        assert np.mean(images != whole) < 1e-3
        assert np.max(np.abs(images - whole)) <= 1


FULL_DISK = """
mount -t tmpfs -o size={size}k none {place}
{command}
echo "status $?"
mount -o remount,size=100m {place}
{command}
echo "status $?"
"""


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(100, marks=pytest.mark.full),
        pytest.param(500, marks=pytest.mark.full),
        pytest.param(700, marks=pytest.mark.slow),
    ],
)
def test_a_full_disk_and_then_room_again(tmp_path, size):
    """Where it gets full: the teacher's progress, its variables, a shard of images."""
    command = [*processes.MAIN, f"--workdir={tmp_path}/run", "--stages=teacher,synthesize"]
    script = FULL_DISK.format(size=size, place=tmp_path, command=" ".join(command))
    own_mounts = ["unshare", "--map-root-user", "--mount", "sh", "-c", script]
    done = subprocess.run(own_mounts, capture_output=True, text=True, timeout=600)
    first, second = done.stdout.split("status ")[1:]
    assert first.startswith("2"), done.stderr
    assert second.startswith("0"), done.stderr
    _assert_one_line(done.stderr, f"error: cannot write {tmp_path}/run/")


@pytest.mark.full
def test_files_that_may_not_become_large(tmp_path):
    command = [*processes.MAIN, f"--workdir={tmp_path}/run", "--stages=teacher"]
    limited = ["sh", "-c", 'ulimit -f 100; exec "$@"', "sh", *command]
    done = subprocess.run(limited, capture_output=True, text=True, timeout=600)
    assert done.returncode == 2
    _assert_one_line(done.stderr, f"error: cannot write {tmp_path}/run/teacher/")


def test_a_directory_that_cannot_be_written(tmp_path):
    """`/sys` refuses even the administrator."""
    command = [*processes.MAIN, "--workdir=/sys/run"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    _assert_one_line(done.stderr, "error: cannot write to /sys/run: ")
