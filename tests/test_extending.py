"""A space, a strategy and a teacher of one file each, as docs/extending.md has them."""

import importlib
import json
import re
import sys
from pathlib import Path

import pytest

from datafree_nas import pipeline
from datafree_nas.experiment import resolve
from datafree_nas.runtime.errors import UserError
from datafree_nas.search import costs, limits, scoring
from datafree_nas.students import student
from tests import tiny

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
FILES = ["config.py", "plain_space.py", "hill_climbing.py", "small_teacher.py"]


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """Writes the files of the page into a package that can be imported."""
    blocks = re.findall(r"```python\n# my_package/(\S+)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert [name for name, _ in blocks] == FILES
    folder = tmp_path_factory.mktemp("extending")
    (folder / "my_package").mkdir()
    for name, text in blocks:
        (folder / "my_package" / name).write_text(text)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


def _config():
    config = tiny.get_config()
    theirs = importlib.import_module("my_package.config").get_config()
    config.search.space = theirs.search.space
    config.search.strategy = theirs.search.strategy
    config.teacher.factory = theirs.teacher.factory
    return config


@pytest.mark.full
def test_all_stages_run_with_them(package, tmp_path):
    config = _config()
    with config.search.unlocked():
        config.search.hill_climbing = {"tries": 3}
    pipeline.run(config, tmp_path, pipeline.NAMES)
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert [row["name"] for row in summary["rows"]][:2] == ["teacher", "student"]
    found = json.loads((tmp_path / "search" / "architecture.json").read_text())
    assert (found["space"], found["strategy"]) == ("plain", config.search.strategy)
    space = resolve(config, tmp_path).space
    assert found["macs"] == space.macs(space.decode(found["architecture"]))
    with pytest.raises(UserError, match=r"'plain' is unknown.*space="):
        student.load(tmp_path / "student" / "synthetic")
    loaded = student.load(tmp_path / "student" / "synthetic", space=config.search.space.name)
    assert loaded.space == space


def test_defaults_and_checks_come_with_the_file(package, monkeypatch):
    config = _config()
    assert resolve(config).config.search.hill_climbing.tries == 20
    with config.search.unlocked():
        config.search.hill_climbing = {"tries": 0}
    with pytest.raises(UserError, match=r"hill_climbing\.tries=0 must be an integer from 1"):
        resolve(config)
    builder = importlib.import_module("my_package.hill_climbing").STRATEGY
    with monkeypatch.context() as patch:
        patch.setattr("my_package.hill_climbing.STRATEGY", builder._replace(defaults={}))
        with pytest.raises(UserError, match=r"no field config\.search\.hill_climbing\.tries"):
            resolve(_config())
    config = _config()
    config.search.space.layers = 0
    with pytest.raises(UserError, match=r"space\.layers=0 must be an integer from 1"):
        resolve(config)


def test_a_space_that_does_not_list_its_ops_has_no_memory(package):
    config = _config()
    space = resolve(config).space
    row = scoring.costs(space, space.decode("0000"))
    assert row["memory"] is None
    assert row["macs"] > 0
    config.search.evolution.update(max_macs=0, max_memory=10_000)
    with pytest.raises(UserError, match=r"plain does not list the ops .* define its method sched"):
        limits.check(space, config.search)
    config.search.front_cost = "memory"
    with pytest.raises(UserError, match=r"plain does not list the ops .* define its method sched"):
        costs.check(space, config.search)


@pytest.mark.parametrize(
    ("field", "place", "message"),
    [
        ("search.strategy", "my_package.nothing:STRATEGY", "no search strategy at 'my_package.n"),
        ("search.strategy", "my_package.small_teacher:build", "is a function and no search str"),
        ("search.space.name", "my_package.plain_space:Layer", "no search space; docs/extending"),
    ],
)
def test_a_place_that_holds_nothing_of_the_kind(package, field, place, message):
    config = _config()
    config.update_from_flattened_dict({field: place})
    with pytest.raises(UserError, match=message):
        resolve(config)
