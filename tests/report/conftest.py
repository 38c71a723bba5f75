"""Both ways to draw a graph."""

import shutil

import pytest


@pytest.fixture(params=["matplotlib", "dot"])
def either_way(request, monkeypatch):
    """Graphs are drawn by matplotlib in one test, by Graphviz in the other."""
    if request.param == "matplotlib":
        monkeypatch.setattr(shutil, "which", lambda command: None)
    elif shutil.which("dot") is None:
        pytest.skip("Graphviz's dot is not installed; what it is given is tested without it")
