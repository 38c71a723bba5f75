"""Programs of several processes on this machine, for tests."""

import os
import socket
import subprocess
import sys

MAIN = [sys.executable, "-m", "datafree_nas.main", "--config=tests/tiny.py"]


def free_port():
    """A port over 1000 that nobody uses, nor the one 1000 below it."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        try:
            socket.create_server(("127.0.0.1", port - 1000)).close()
        except OSError:
            continue
        return port


def start(workdir, *flags, processes=1, devices=1, command=MAIN, present=None, port=None):
    """One `Popen` for each process; standard error and output together.

    Args:
        workdir: of the run.
        *flags: of the program.
        processes: that the run has.
        devices: virtual ones of each process.
        command: the program.
        present: numbers of the processes that are started, all of them if None.
        port: of the coordinator, a free one if None.
    """
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices)}
    if processes > 1 or devices == 1:  # a core each: the convolutions of devices that share some
        environment["NPROC"] = "1"
    port, started = port or free_port(), []
    for index in range(processes) if present is None else present:
        place = []
        if processes > 1:
            place = [f"--coordinator=127.0.0.1:{port}", f"--num_processes={processes}"]
            place.append(f"--process_id={index}")
        started.append(
            subprocess.Popen(
                [*command, f"--workdir={workdir}", *place, *flags],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        )
    return started


def finish(started, timeout=600):
    """`(exit status, output)` of each; none of them is left behind."""
    try:
        outputs = [process.communicate(timeout=timeout)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    return [(p.returncode, out) for p, out in zip(started, outputs, strict=True)]


def run(workdir, *flags, timeout=600, **settings):
    """Runs to the end, which must be a good one; the outputs."""
    ended = finish(start(workdir, *flags, **settings), timeout)
    for status, output in ended:
        assert status == 0, output[-5000:]
    return [output for _, output in ended]
