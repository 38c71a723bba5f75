"""launch/local.sh on a program that only says what it hears: no JAX, no loopback."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "launch" / "local.sh"

# Process i does what --doI says: end with a status, end of SIGKILL, wait for a signal and then
# take a moment to save, leave a child behind, or take no notice of signals. Else it ends well. No
# one does anything before all are ready.
MAIN = """\
import glob, os, signal, subprocess, sys, time
flags = dict(arg[2:].split("=", 1) for arg in sys.argv if arg.startswith("--"))
does, heard = flags.get("do" + flags["process_id"], "end"), []
for signum in (signal.SIGINT, signal.SIGTERM):
    signal.signal(signum, signal.SIG_IGN if does == "stubborn" else lambda s, _: heard.append(s))
print("ready", os.environ["JAX_PLATFORMS"], os.environ["JAX_NUM_CPU_DEVICES"], flush=True)
open(f"{__file__}.{os.getpid()}", "w").close()
while len(glob.glob(__file__ + ".*")) < int(flags["num_processes"]):  # all hear signals
    time.sleep(0.01)
if does.isdecimal():
    sys.exit(int(does))
elif does == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
elif does == "child":
    subprocess.Popen([sys.executable, *sys.argv, "--process_id=9", "--do9=stubborn"])
elif does != "end":
    while not heard:
        time.sleep(0.02)
    time.sleep(0.1)
    print("saved", flush=True)
    sys.exit(128 + heard[0] if len(heard) == 1 else "stopped twice")
print("no newline at the end", end="" if flags["process_id"] != "0" else None)
"""


@pytest.fixture
def start(tmp_path):
    """Starts local.sh with the program above; at the end nothing of it may be left."""
    main = tmp_path / "main"
    main.write_text(f"#!{sys.executable} -SE\n{MAIN}")
    main.chmod(0o755)
    started = []

    def begin(*arguments, **environment):
        started.append(
            subprocess.Popen(
                [SCRIPT, *map(str, arguments)],
                env={**os.environ, "DATAFREE_NAS_PYTHON": str(main), **environment},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield begin
    for process in started:
        process.kill()
    left = subprocess.run(["pgrep", "-af", str(main)], capture_output=True, text=True).stdout
    subprocess.run(["pkill", "-KILL", "-f", str(main)])  # the path is this test's own
    assert not left


def _end(process):
    output, errors = process.communicate(timeout=20)
    return process.returncode, sorted(output.splitlines()), errors


def _wait_for_all(process, count):
    """Until all have said that they hear signals."""
    return [process.stdout.readline() for _ in range(count)]


def test_all_end_well(start):
    status, output, errors = _end(start(3, JAX_NUM_CPU_DEVICES="4", JAX_PLATFORMS="tpu"))
    assert status == 0
    assert not errors
    end = "no newline at the end"
    assert output == sorted(
        ["ready cpu 4", end]
        + [f"[{number}] {said}" for number in (1, 2) for said in ("ready cpu 4", end)]
    )


def test_a_child_is_not_left_behind(start):
    status, _, _ = _end(start(2, "--do1=child"))
    assert status == 0


@pytest.mark.parametrize(("does", "status"), [("7", 7), ("2", 2), ("killed", 137)])
def test_one_fails(start, does, status):
    found, output, errors = _end(start(3, f"--do1={does}", "--do0=wait", "--do2=wait"))
    assert found == status
    assert "saved" in output
    assert "[2] saved" in output
    assert errors.startswith(f"process 1 ended with status {status}\n")


def test_who_does_not_stop_is_killed(start):
    began = time.monotonic()
    process = start(2, "--do0=5", "--do1=stubborn", GRACE_SECONDS="0")
    status, _, errors = _end(process)
    assert status == 5
    assert "process 1 ended with status 137" in errors
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("sent", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 143)]
)
def test_signals_are_passed_on(start, sent, status):
    process = start(3, "--do0=wait", "--do1=wait", "--do2=wait")
    _wait_for_all(process, 3)
    process.send_signal(sent)
    found, output, errors = _end(process)
    assert found == status
    assert output == ["[1] saved", "[2] saved", "saved"], errors  # once each: nobody says "twice"


def test_port(start):
    while True:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            for named in (port, port + 1000):
                if named < 65536:
                    status, _, errors = _end(start(2, PORT=str(named)))
                    assert (status, errors.count("\n")) == (2, 1)
                    assert re.match(rf"error: PORT={named} or {named - 1000} is in use", errors)
            return
