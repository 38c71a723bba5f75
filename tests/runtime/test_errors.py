import signal

import pytest

from datafree_nas.runtime.errors import Interrupted, UserError, did_you_mean, exit_cleanly


def test_did_you_mean_names_near_ones_or_all():
    known = ["teacher", "search", "train"]
    assert did_you_mean("trian", known) == "; did you mean 'train'?"
    assert did_you_mean("serach", known) == "; did you mean 'search' or 'teacher'?"
    assert did_you_mean("xyz", known) == "; known: search, teacher, train"


def _raise(error):
    raise error


def test_exit_cleanly_turns_errors_into_a_line_and_a_status(capsys):
    with pytest.raises(SystemExit) as user:
        exit_cleanly(lambda: _raise(UserError("mend this")))
    assert user.value.code == 2
    assert capsys.readouterr().err == "error: mend this\n"

    with pytest.raises(SystemExit):
        exit_cleanly(lambda: _raise(UserError("no checkpoint at a\x1b[2J\nerror: b")))
    assert capsys.readouterr().err == "error: no checkpoint at a\\x1b[2J\\nerror: b\n"

    with pytest.raises(SystemExit) as stopped:
        exit_cleanly(lambda: _raise(Interrupted(signal.SIGTERM)), resume="Go on so.")
    assert stopped.value.code == 128 + signal.SIGTERM
    assert capsys.readouterr().err.endswith("is saved. Go on so.\n")


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        exit_cleanly(lambda: _raise(ZeroDivisionError()))
    exit_cleanly(lambda: None)
