import signal
import subprocess
import sys

import pytest

from datafree_nas.runtime import interrupt
from datafree_nas.runtime.errors import Interrupted


@pytest.mark.parametrize("signum", interrupt.SIGNALS)
def test_a_first_signal_is_remembered(signum, capsys):
    before = signal.getsignal(signum)
    with interrupt.deferred_signals():
        interrupt.check()
        assert not interrupt.requested()
        signal.raise_signal(signum)
        assert interrupt.requested()
        with pytest.raises(Interrupted) as stop:
            interrupt.check()
    assert stop.value.signum == signum
    assert "stopping after this iteration" in capsys.readouterr().err
    assert signal.getsignal(signum) is before
    assert not interrupt.requested()


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
