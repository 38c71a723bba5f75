import signal

import pytest


@pytest.fixture(autouse=True)
def _signals_are_heard():
    """By what a test starts; under nohup, or in the background of a shell, it would ignore some.

    A program inherits that a signal is ignored, but no handler.
    """
    signals = [signal.SIGHUP, signal.SIGINT]
    ignored = [s for s in signals if signal.getsignal(s) is signal.SIG_IGN]
    for each in ignored:
        signal.signal(each, lambda *_: None)
    yield
    for each in ignored:
        signal.signal(each, signal.SIG_IGN)
