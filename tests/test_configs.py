"""Every experiment loads, has known fields, and says what it is; its document is of today."""

import importlib
import re
import runpy
from pathlib import Path

import pytest

from configs import common
from datafree_nas import preflight, schema, spaces, teachers
from datafree_nas.experiment import resolve
from datafree_nas.pipeline import STAGES

ROOT = Path(__file__).parents[1]
SHARED = {"__init__", "common", "cifar10", "imagenet"}
EXPERIMENTS = sorted({file.stem for file in (ROOT / "configs").glob("*.py")} - SHARED)
OPTIONS = ["", "quick", "data=real", "quick,paper", "quick,data=real,seed=3"]
PAIRS = [(name, option) for name in EXPERIMENTS for option in OPTIONS if name != "digits_spos"]


def _load(name, option):
    module = importlib.import_module(f"configs.{name}")
    return module.get_config(option) if option else module.get_config()


def _fields(config):
    flat = schema.flatten(config.to_dict())
    left_open = ("search.space.", "student.rows")  # fields whose default depends on other fields
    return {name: type(value) for name, value in flat.items() if not name.startswith(left_open)}


@pytest.mark.parametrize(("name", "option"), [*PAIRS, ("digits_spos", "")])
def test_an_experiment_is_one(name, option):
    config = _load(name, option)
    known = _fields(common.get_config())
    assert _fields(config).keys() == known.keys(), "no field of another name"
    changed = {field for field, kind in _fields(config).items() if kind is not known[field]}
    numbers = {field for field in changed if {_fields(config)[field], known[field]} == {int, float}}
    assert changed == numbers, "and each of its kind"
    config.update_from_flattened_dict({"data.source": "tfds:any", "teacher.checkpoint": "any"})
    preflight.check_fields(resolve(config).config, STAGES)
    teacher = teachers.create_teacher(config.teacher.arch, config.teacher.num_classes)
    size = config.teacher.image_size or teacher.image_size
    settings = {**config.search.space, "num_classes": teacher.num_classes, "image_size": size}
    spaces.create_space(**settings)


def test_options_change_what_they_say():
    seeds, names = set(), set()
    for name, option in PAIRS:
        config = _load(name, option)
        names.add(config.name)
        seeds.add(config.seed)
        assert config.search.data == ("real" if "data=real" in option else "synthetic")
        assert (config.student.train.steps <= 100) == ("quick" in option)
    assert seeds == {0, 3}
    assert len(names) == len(PAIRS), "so that no two share a default workdir"


@pytest.mark.parametrize("option", ["quik", "data=reel", "seed=x", "quick,,"])
def test_an_unknown_option(option):
    with pytest.raises(ValueError, match="is unknown; known: quick, paper, data=real, seed=N"):
        _load("cifar10_darts", option)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_docstring_has_the_command(name):
    text = importlib.import_module(f"configs.{name}").__doc__
    command = "main\n" if name == "digits_spos" else f"--config=configs/{name}.py "
    assert f"python -m datafree_nas.{command}" in text or f"datafree_nas.main {command}" in text


# docs/configs.md

MAKER = runpy.run_path(str(ROOT / "docs" / "make_configs.py"))


def test_the_document_is_that_of_the_defaults():
    expected = MAKER["page"]((ROOT / "configs" / "common.py").read_text())
    assert (ROOT / "docs" / "configs.md").read_text() == expected, "run docs/make_configs.py"


def test_the_document_has_every_field():
    source = (ROOT / "configs" / "common.py").read_text()
    found = {".".join(f.path) for f in MAKER["fields"](source) if f.function != "recipe"}
    flat = schema.flatten(common.get_config().to_dict())
    expected = {re.sub(r"(train)\..*", r"\1", field) for field in flat}  # a block is one line
    assert found == expected


def test_a_field_needs_a_meaning():
    source = "def recipe():\n    config.steps = 3  # of SGD\n    config.seed = 4\n"
    with pytest.raises(ValueError, match="line 3: seed has no comment"):
        MAKER["fields"](source)
