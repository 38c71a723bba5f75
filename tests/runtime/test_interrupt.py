import signal
import subprocess
import sys

import pytest

from datafree_nas.runtime import interrupt, processes
from datafree_nas.runtime.errors import Interrupted


@pytest.mark.parametrize("signum", interrupt.SIGNALS)
def test_a_first_signal_is_remembered(signum, capsys):
    before = signal.getsignal(signum)
    with interrupt.deferred_signals():
        processes.check_stop()
        assert not interrupt.received()
        signal.raise_signal(signum)
        assert interrupt.received() == signum
        with pytest.raises(Interrupted) as stop:
            processes.check_stop()
    assert stop.value.signum == signum
    assert "stopping after this iteration" in capsys.readouterr().err
    assert signal.getsignal(signum) is before
    assert not interrupt.received()


def test_that_of_another_process_does_not_count_as_a_second_one(capsys):
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
