import signal
import subprocess
import sys

import pytest

from datafree_nas.runtime import interrupt, processes
from datafree_nas.runtime.errors import Interrupted


@pytest.mark.parametrize("signum", interrupt.SIGNALS)
def test_a_first_signal_is_remembered(signum, capfd):
    outside = signal.signal(signum, signal.SIG_DFL)  # the tests may run under nohup
    before = signal.getsignal(signum)
    with interrupt.deferred_signals():
        processes.check_stop()
        assert not interrupt.received()
        signal.raise_signal(signum)
        assert interrupt.received() == signum
        with pytest.raises(Interrupted) as stop:
            processes.check_stop()
    assert stop.value.signum == signum
    assert "stopping after this iteration" in capfd.readouterr().err
    assert signal.getsignal(signum) is before
    signal.signal(signum, outside)
    assert not interrupt.received()


def test_that_of_another_process_does_not_count_as_a_second_one(capfd):
    with interrupt.deferred_signals():
        interrupt.request(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert interrupt.received() == signal.SIGTERM


def test_a_second_one_stops_at_once():
    program = """
import signal
from datafree_nas.runtime.interrupt import deferred_signals
with deferred_signals():
    signal.raise_signal(signal.SIGTERM)
    print("still here", flush=True)
    signal.raise_signal(signal.SIGTERM)
    print("too far", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == -signal.SIGTERM
    assert done.stdout == "still here\n"


def test_one_that_is_raised_lets_what_was_begun_be_removed(tmp_path):
    program = """
import signal, sys, tempfile, time
from datafree_nas.runtime.interrupt import raised_signals
with raised_signals(), tempfile.TemporaryDirectory(dir=sys.argv[1]):
    print("begun", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "begun\n"
    assert len(list(tmp_path.iterdir())) == 1
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60)[1] == "interrupted\n"
    assert process.returncode == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []
