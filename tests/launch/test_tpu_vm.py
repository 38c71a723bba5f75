"""launch/tpu_vm.sh with a gcloud that only answers, launch/worker.sh with such a systemd."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

LAUNCH = Path(__file__).parents[2] / "launch"
RUN = ["--", "--config=c.py", "--workdir=gs://b/d"]

# Notes what it is asked, in a word, and answers with the next line of that word's file, the last
# one again and again: `STATUS TEXT`. Without such a file it says nothing, and all is well.
GCLOUD = """\
import os, re, sys, time
words, here = " ".join(sys.argv[1:]), os.path.dirname(sys.argv[0])
asked = (re.search(r"worker\\.sh (\\w+)", words) or re.search(r"tpus [\\w-]+ (\\w+)", words))[1]
with open(f"{here}/calls", "a") as file:
    file.write(asked + "\\n")
if asked == "follow" and os.path.exists(f"{here}/hangs"):
    while os.path.exists(f"{here}/hangs"):
        time.sleep(0.02)
if asked == "stop":
    os.remove(f"{here}/hangs")
if os.path.exists(f"{here}/{asked}"):
    with open(f"{here}/{asked}") as file:
        first, *rest = file.read().splitlines()
    with open(f"{here}/{asked}", "w") as file:
        file.write("\\n".join(rest or [first]))
    status, _, text = first.partition(" ")
    print(text)
    sys.exit(int(status))
"""
MISSING = "1"  # what `describe` says of a TPU that is not there
INSTALL = ["scp", "ssh", "install", "scp"]  # the package, and the token
MAKE = ["create", "describe", "status", *INSTALL, "start", "follow", "status"]


@pytest.fixture
def cloud(tmp_path):
    """A folder with that gcloud."""
    _program(tmp_path / "gcloud", GCLOUD, f"{sys.executable} -SE")
    (tmp_path / "calls").touch()
    return tmp_path


def _program(path, body, interpreter="/bin/sh"):
    path.write_text(f"#!{interpreter}\n{body}")
    path.chmod(0o755)


def _start(cloud, *options, **answers):
    for name, lines in answers.items():
        (cloud / name).write_text("\n".join(lines))
    return subprocess.Popen(
        [LAUNCH / "tpu_vm.sh", "--name=nas", "--zone=z", "--type=v6e-8", *options, *RUN],
        env={
            **os.environ,
            "PATH": f"{cloud}:{os.environ['PATH']}",
            "PAUSE_SECONDS": "0",
            "TMPDIR": str(cloud),
            "HOME": str(cloud),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _calls(cloud):
    return (cloud / "calls").read_text().split()


def _run(cloud, *options, **answers):
    process = _start(cloud, *options, **answers)
    _, errors = process.communicate(timeout=30)
    return process.returncode, _calls(cloud), errors


def test_preempted(cloud):
    """Taken away while it runs: created again, and the same command goes on."""
    status, calls, errors = _run(
        cloud,
        describe=[MISSING, "0 READY", "0 PREEMPTED", MISSING, "0 READY"],
        status=["0 none", "255", "0 none", "0 0"],
    )
    assert status == 0, errors
    assert calls == ["describe", *MAKE, "describe", "delete", "describe", *MAKE, "delete"]
    assert "attempt 1 of 20 ended with status unknown" in errors
    assert "nas is PREEMPTED and is created again" in errors


@pytest.mark.parametrize("ended", ["75", "143", "137", "1"])
def test_started_again(cloud, ended):
    """A process was lost on a TPU that is still there: nothing is installed twice."""
    status, calls, errors = _run(
        cloud, describe=[MISSING, "0 READY"], status=["0 none", f"0 {ended}", f"0 {ended}", "0 0"]
    )
    assert status == 0, errors
    again = ["describe", "status", "start", "follow", "status"]
    assert calls == ["describe", *MAKE, *again, "delete"]


def test_mistake(cloud):
    status, calls, _ = _run(cloud, describe=[MISSING, "0 READY"], status=["0 none", "0 2"])
    assert status == 2
    assert calls == ["describe", *MAKE, "delete"]


def test_follows_what_runs(cloud):
    """The same command again; twice, as the first connection is lost."""
    status, calls, _ = _run(
        cloud,
        "--keep",
        describe=["0 READY"],
        status=["0 running", "0 running", "0 0"],
        follow=["255", "0"],
    )
    assert status == 0
    assert calls == ["describe", "status", "follow", "status", "follow", "status"]


def test_waits_in_the_queue(cloud):
    states = ["WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"]
    status, calls, _ = _run(
        cloud,
        "--queued",
        describe=[MISSING, *(f"0 {state}" for state in states)],
        status=["0 none", "0 0"],
    )
    assert status == 0
    assert calls == ["describe", "create", "describe", "describe", *MAKE[1:], "delete"]


def test_no_room(cloud):
    status, calls, errors = _run(cloud, "--attempts=3", describe=[MISSING], create=["1"])
    assert status == 1
    assert calls == ["describe", "create"] * 3 + ["delete"]
    assert "attempt 3 of 3 ended with status unknown" in errors


@pytest.mark.parametrize(
    ("sent", "status", "options"),
    [(signal.SIGTERM, 143, []), (signal.SIGINT, 130, []), (signal.SIGTERM, 143, ["--keep"])],
)
def test_stopped(cloud, sent, status, options):
    (cloud / "hangs").touch()  # `follow` does, until the run is stopped
    process = _start(cloud, *options, describe=[MISSING, "0 READY"], status=["0 none", "0 143"])
    began = time.monotonic()
    while _calls(cloud)[-1:] != ["follow"] and time.monotonic() - began < 20:
        time.sleep(0.02)
    process.send_signal(sent)
    process.communicate(timeout=20)
    assert process.returncode == status
    assert _calls(cloud)[-2:] == (["follow", "stop"] if options else ["stop", "delete"])


@pytest.fixture
def worker(tmp_path):
    """A worker's home: `(command, *args) -> what it printed`; systemd's answers in files there."""
    home = tmp_path / "datafree_nas"
    (home / "launch").mkdir(parents=True)
    shutil.copy(LAUNCH / "worker.sh", home / "launch")
    _program(tmp_path / "sudo", 'exec "$@"\n')
    _program(tmp_path / "systemd-run", f'printf "%s\\n" "$@" >{tmp_path}/unit\n')
    properties = f'name=${{3#--property=}}; cat "{tmp_path}/$name"\n'
    _program(tmp_path / "systemctl", f'[ "$1" = show ] || exit 5\n{properties}')

    def call(*arguments):
        done = subprocess.run(
            [home / "launch" / "worker.sh", *arguments],
            env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            text=True,
            timeout=20,
            check=True,
        )
        return done.stdout

    return call


@pytest.mark.parametrize(
    ("state", "code", "number", "said"),
    [
        ("running", 0, 0, "running"),
        ("start", 0, 0, "running"),
        ("stop-sigterm", 0, 0, "running"),
        ("exited", 1, 0, "0"),
        ("failed", 1, 2, "2"),
        ("failed", 1, 75, "75"),
        ("failed", 2, 9, "137"),
        ("failed", 3, 11, "139"),
        ("dead", 0, 0, "none"),
    ],
)
def test_worker_status(tmp_path, worker, state, code, number, said):
    values = {"SubState": state, "ExecMainCode": code, "ExecMainStatus": number}
    for name, value in values.items():
        (tmp_path / name).write_text(f"{value}\n")
    assert worker("status") == f"{said}\n"


def test_worker_start(tmp_path, worker):
    worker("start", "--config=c.py", "--config.name=it's 2")
    home, unit = tmp_path / "datafree_nas", (tmp_path / "unit").read_text().splitlines()
    assert unit[-5:] == [
        f"{home}/.venv/bin/python",
        *("-m", "datafree_nas.main", "--config=c.py", "--config.name=it's 2"),
    ]
    assert {
        "--unit=datafree_nas",
        f"--working-directory={home}",
        "--property=KillMode=mixed",
        "--property=TimeoutStopSec=45",
        f"--property=EnvironmentFile=-{home}/token.env",
        f"--property=StandardOutput=append:{home}/run.log",
    } <= set(unit)


def test_the_token_lies_in_a_file_of_the_user_alone(cloud):
    """Until it is on the workers."""
    copy = "stat -c %a $HOME/.datafree_nas-nas.env; cat $HOME/.datafree_nas-nas.env"
    _program(
        cloud / "gcloud",
        f'case "$*" in *token.env*) ({copy}) >{cloud}/seen ;; *describe*) echo READY ;; esac\n',
    )
    assert _run(cloud, "--attempts=1")[0] == 1, "the answers of this gcloud are not those of a run"
    mode, line = (cloud / "seen").read_text().splitlines()
    assert mode == "600"
    assert re.fullmatch("DATAFREE_NAS_TOKEN=[0-9a-f]{32}", line)
    assert not (cloud / ".datafree_nas-nas.env").exists()


def test_worker_follow(tmp_path, worker):
    log = tmp_path / "datafree_nas" / "run.log"
    log.write_text("before\n")
    writer = subprocess.Popen(["sh", "-c", f"sleep 0.3; echo after >>{log}"])
    (tmp_path / "MainPID").write_text(f"{writer.pid}\n")
    threading.Thread(target=writer.wait).start()  # a process that nobody waits for does not end
    assert worker("follow") == "before\nafter\n"
    (tmp_path / "MainPID").write_text("0\n")
    assert worker("follow") == "before\nafter\n"
