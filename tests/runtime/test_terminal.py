"""Commands as they are started in a shell: pipes that break, closed streams, odd terminals."""

import ast
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from datafree_nas.runtime.terminal import printable

ROOT = Path(__file__).parents[2]
COMMANDS = [
    file
    for folder in ("datafree_nas", "benchmarks")
    for file in sorted((ROOT / folder).glob("*.py"))
    if "app.run(" in file.read_text()
]
MAIN = f"{sys.executable} -m datafree_nas.main"
PROGRAM = """
import sys, time
from datafree_nas.runtime import interrupt, terminal
from datafree_nas.runtime.errors import Interrupted, exit_cleanly
terminal.prepare()
{body}
"""
LOOP = """
def body():
    with interrupt.deferred_signals():
        for i in range(1000):
            print(f"iteration {i}", flush=True)
            time.sleep(0.01)
            if interrupt.received():
                raise Interrupted(interrupt.received())
        raise AssertionError("nothing has stopped it")
exit_cleanly(body)
"""


def _shell(command, **environment):
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def _program(body):
    return f"{sys.executable} -c '{PROGRAM.format(body=body)}'"


@pytest.mark.parametrize("file", COMMANDS, ids=lambda file: file.name)
def test_every_command_prepares_before_it_imports_anything_else(file):
    first, prepare, *_ = ast.parse(file.read_text()).body[1:]
    assert ast.unparse(first) == "from datafree_nas.runtime import terminal"
    assert ast.unparse(prepare) == "if __name__ == '__main__':\n    terminal.prepare()"


def test_prepare_imports_nothing_that_takes_long():
    code = "import datafree_nas.runtime.terminal, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-SEc", code], cwd=ROOT, capture_output=True, text=True)
    assert not {"absl", "jax", "numpy"} & {*done.stdout.split()}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/data/übung 1/naïve.pth", "/data/übung 1/naïve.pth"),
        ("a\nerror: b\r\tc", r"a\nerror: b\r\tc"),
        ("\x1b[2J\x9b1m\a", r"\x1b[2J\x9b1m\x07"),
        ("gpj.\u202efdp\u2066", r"gpj.\u202efdp\u2066"),
        ("\udcff", r"\udcff"),
        ("\u2028", r"\u2028"),
        (7, "7"),
    ],
)
def test_printable(text, shown):
    assert printable(text) == shown


# the reader goes


@pytest.mark.parametrize("module", ["datafree_nas.main", "datafree_nas.port_torch"])
def test_help_that_nobody_reads(module):
    done = _shell(f"({sys.executable} -m {module} --help; echo $? >&2) | true")
    assert (done.stdout, done.stderr) == ("", "1\n")  # as absl ends after every --help


def test_a_loop_whose_output_nobody_reads_any_more_saves_and_stops():
    done = _shell(f"({_program(LOOP)}; echo $? >&2) | head -1")
    assert done.stdout == "iteration 0\n"
    assert done.stderr == "interrupted: everything done so far is saved.\n141\n"


@pytest.mark.parametrize("lines", [1, 10_000])
def test_a_command_without_a_loop_ends_quietly(lines):
    body = f"exit_cleanly(lambda: [print(i) for i in range({lines})])"
    done = _shell(f"({_program(body)}; echo $? >&2) | true")
    assert (done.stdout, done.stderr) == ("", "141\n")


def test_ctrl_c_that_ends_tee_as_well():
    """The line of the signal handler has no reader then, nor have all the others."""
    body = LOOP.replace('print(f"iteration {i}", flush=True)', "print(i, file=sys.stderr)")
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(body=body)], stderr=subprocess.PIPE, cwd=ROOT
    )
    process.stderr.readline()
    process.stderr.close()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) in (128 + signal.SIGINT, 128 + signal.SIGPIPE)


def test_a_device_without_room():
    body = 'exit_cleanly(lambda: print("a"))'
    done = _shell(f"{_program(body)} > /dev/full")
    assert done.returncode == 2
    assert done.stderr == "error: the output is incomplete: No space left on device\n"
    done = _shell(f"{_program(body)} 2> /dev/full")
    assert (done.returncode, done.stdout) == (0, "a\n")
    done = _shell(f"{MAIN} --wrokdir=x 2> /dev/full")
    assert (done.returncode, done.stdout) == (2, "")


# closed streams


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams(closed):
    done = _shell(f"{MAIN} --wrokdir=x {closed}")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path):
    body = """
opened = open(sys.argv[1], "w")
import subprocess
print("to nobody", file=sys.stderr)
subprocess.run(["sh", "-c", "echo to nobody >&2"])
exit_cleanly(lambda: print(opened.fileno()))
"""
    done = _shell(f"{_program(body)} {tmp_path}/file 2>&-")
    assert int(done.stdout) > 2
    assert (tmp_path / "file").read_text() == ""


# characters


@pytest.mark.parametrize("encoding", ["ascii", "ascii:strict", "latin1"])
def test_paths_on_a_terminal_that_has_not_their_letters(encoding):
    done = _shell(f"{MAIN} --config=/none/日本.py", LC_ALL="C", PYTHONIOENCODING=encoding)
    assert done.returncode == 2
    assert done.stderr == "error: --config: cannot read /none/\\u65e5\\u672c.py\n"
    say = _program('exit_cleanly(lambda: print("日本"))')
    done = _shell(say, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\\u65e5\\u672c\n", "")


def test_an_error_is_one_line_whatever_the_name():
    done = _shell(f"{MAIN} --config=$'/none/\\e[2J\\nerror: b\\xff.py'")
    assert done.returncode == 2
    assert done.stderr == "error: --config: cannot read /none/\\x1b[2J\\nerror: b\\udcff.py\n"


# signals


def _default_signals():
    """A job that a shell has put into the background ignores SIGINT, and so do its children."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_DFL)


def _interrupted(module, signum, seconds):
    """What a command prints and returns that a signal meets so long after its start."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, "--help"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_default_signals,
    )
    time.sleep(seconds)
    process.send_signal(signum)
    return process.communicate(timeout=60)[1], process.returncode


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_it_imports(signum):
    assert _interrupted("datafree_nas.port_torch", signum, 0.7) == ("interrupted\n", 128 + signum)


@pytest.mark.full
@pytest.mark.parametrize("module", ["datafree_nas.main", "datafree_nas.port_torch"])
def test_ctrl_c_at_any_moment(module):
    for step in range(20):
        printed, status = _interrupted(module, signal.SIGINT, 0.2 + 0.15 * step)
        # it has ended before; or is just ending, when Python has given up its signal handlers
        assert (printed, status) in (("interrupted\n", 130), ("", 1), ("", -signal.SIGINT)), step


@pytest.mark.parametrize(("before", "status"), [("", 128 + signal.SIGHUP), ("nohup", 0)])
def test_nohup(before, status):
    body = """
import os, signal
def body():
    with interrupt.deferred_signals():
        os.kill(os.getpid(), signal.SIGHUP)
        if interrupt.received():
            raise Interrupted(interrupt.received())
exit_cleanly(body)
"""
    reset = (
        f"{sys.executable} -c 'import os, signal, sys; "
        "signal.signal(signal.SIGHUP, signal.SIG_DFL); os.execvp(sys.argv[1], sys.argv[1:])'"
    )
    done = _shell(f"{reset} {before} {_program(body)}")
    assert done.returncode == status
    assert "Traceback" not in done.stderr


def test_a_terminal_that_is_closed():
    """What is printed from then on fails with an error of its own, EIO."""
    pid, terminal = pty.fork()
    if not pid:
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-c", PROGRAM.format(body=LOOP)])
    assert b"iteration" in os.read(terminal, 100)
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) in (128 + signal.SIGHUP, 128 + signal.SIGPIPE)


def test_output_without_a_buffer():
    body = 'sys.stdout.write("a\\n"); import os; os._exit(0)'
    assert _shell(_program(body), PYTHONUNBUFFERED="1").stdout == "a\n"
    assert _shell(_program(body)).stdout == ""
