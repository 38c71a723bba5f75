import contextvars
import threading

import pytest

from datafree_nas.runtime.behind import Behind


def test_the_caller_goes_on_meanwhile():
    went_on, done = threading.Event(), []
    with Behind() as behind:
        behind.do(lambda: done.append(went_on.wait(10)))
        went_on.set()
    assert done == [True]


def test_one_after_another():
    done = []
    with Behind() as behind:
        for number in range(20):
            behind.do(done.append, number)
        behind.wait()
        assert done == list(range(20))


@pytest.mark.parametrize("how", ["wait", "do", "leave"])
def test_what_fails_is_raised(how):
    behind = Behind()
    behind.do(lambda: [][0])
    with pytest.raises(IndexError):
        {"wait": behind.wait, "do": lambda: behind.do(print), "leave": lambda: behind.__exit__()}[
            how
        ]()
    behind.wait()  # once


def test_the_context_is_the_callers():
    variable, seen = contextvars.ContextVar("variable", default="none"), []
    variable.set("the caller's")
    with Behind() as behind:
        behind.do(lambda: seen.append(variable.get()))
    assert seen == ["the caller's"]
