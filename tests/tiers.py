"""Members of a parametrized test that only the longer tier runs, see README's section on tests."""

import pytest


def full(*members):
    """Marks members of a parametrized test as `full`; a tuple holds the values of several names."""
    values = (each if isinstance(each, tuple) else (each,) for each in members)
    return [pytest.param(*each, marks=pytest.mark.full) for each in values]
