"""Things found by name: in a package's files, by an entry point of another package, by a path."""

import sys
from importlib import metadata

import pytest

from datafree_nas.runtime import plugins
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.plugins import Plugins

GROUP = "some.group"


@pytest.fixture
def numbers(tmp_path, monkeypatch):
    """All integers that the modules of a package define in capitals."""
    package = tmp_path / "numbers_of_a_test"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "one.py").write_text("ONE = 1\nTWO = 2\n")
    (package / "three.py").write_text("THREE = 3\nNAME = 'three'\n")
    point = metadata.EntryPoint("seven", "numbers_of_a_test.three:THREE", GROUP)
    monkeypatch.setattr(plugins.metadata, "entry_points", lambda group: [point] * (group == GROUP))
    monkeypatch.syspath_prepend(tmp_path)
    yield Plugins(
        "number",
        "config.number",
        package.name,
        GROUP,
        lambda module: {n.lower(): v for n, v in vars(module).items() if isinstance(v, int)},
        lambda value: isinstance(value, int),
    )
    for name in [name for name in sys.modules if name.startswith(package.name)]:
        del sys.modules[name]


def test_every_file_is_looked_through(numbers):
    assert numbers.names() == ["one", "two", "three", "seven"]
    assert numbers.built_in() == [1, 2, 3]
    assert numbers.find("two") == 2


def test_an_entry_point_and_a_path(numbers):
    assert numbers.find("seven") == 3
    assert numbers.find("numbers_of_a_test.one:ONE") == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tree", "config.number='tree': no number 'tree'; did you mean 'three'"),
        ("numbers_of_a_test.four:FOUR", "no number at 'numbers_of_a_test.four:FOUR' .No module"),
        ("numbers_of_a_test.one:TEN", "no number at .* has no attribute 'TEN'"),
        ("numbers_of_a_test.three:NAME", "is a str and no number"),
        (":", "no number at ':'"),
    ],
)
def test_what_is_none(numbers, name, message):
    with pytest.raises(UserError, match=message):
        numbers.find(name)


def test_values_of_a_field(numbers):
    values = numbers.values()
    assert values.holds("seven")
    assert values.holds("a.b:C")
    assert not values.holds("tree")
    assert not values.holds(3)
    assert values.hint("tree") == "; did you mean 'three'?"
