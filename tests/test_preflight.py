"""Mistakes in a config show before the first stage, in one line; no value ends in a traceback."""

import math
from pathlib import Path

import numpy as np
import pytest

from configs import common
from datafree_nas import preflight, schema
from datafree_nas.experiment import resolve
from datafree_nas.pipeline import STAGES
from datafree_nas.runtime.errors import UserError
from datafree_nas.search import limits
from tests import tiny

FIELDS = sorted(schema.flatten(tiny.get_config().to_dict()))
VALUES = [0, -1, 10**12, 1.5, math.nan, math.inf, "", "odd", (), (0,), None]
NOWHERE = Path("no such workdir")
NAMES = [stage.name for stage in STAGES]


def _check(config, *names):
    """Checks a config as a run of these stages would."""
    pending = [stage for stage in STAGES if stage.name in names]
    return preflight.check(resolve(config, NOWHERE), STAGES, pending)


def _with(field, value):
    config = tiny.get_config()
    *blocks, name = field.split(".")
    block = config
    for each in blocks:
        block = block[each]
    with block.ignore_type():
        block[name] = value
    return config


@pytest.mark.parametrize("field", FIELDS)
def test_any_value_is_taken_or_refused_in_one_line(field):
    for value in VALUES:
        refusal = None
        try:
            preflight.check_fields(resolve(_with(field, value)).config, STAGES)
        except UserError as error:
            refusal = str(error)
        assert refusal is None or (refusal and "\n" not in refusal)


def test_every_field_has_its_values_and_defaults_are_among_them():
    found = schema.flatten(common.get_config().to_dict())
    inner = {field for field in found if field.startswith("search.space.")}
    assert found.keys() - inner | {"search.space.name"} == schema.FIELDS.keys()
    for field, values in schema.FIELDS.items():
        assert values.holds(found[field]), field


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"synthesis.noise": "pinc"}, r"did you mean 'pink'"),
        ({"synthesis.dtype": "float16"}, r"did you mean 'bfloat16' or 'float32'"),
        ({"synthesis.rounds": 0}, r"synthesis\.rounds=0 must be an integer from 1 to 10000"),
        ({"search.strategy": "dart"}, r"search\.strategy='dart' must be .*; did you mean 'darts'"),
        ({"search.space.name": "nasbench200"}, r"did you mean 'nasbench201'"),
        ({"search.space.channels": 0}, r"search\.space\.channels=0 must be an integer from 1"),
        ({"student.rows": ("reel",)}, r"no 'reel'; did you mean 'real'"),
        ({"student.train.auxiliary": 0.4}, r"student\.train\.auxiliary=0\.4: nasbench201 has no"),
        ({"search.train.ema": 0.9}, r"search\.train\.ema is for students alone"),
        ({"teacher.train.dropout": 0.1}, r"teacher\.train\.dropout is for students alone"),
        ({"teacher.train.labels": "teacher"}, r"a teacher is trained on the labels of its data"),
        ({"synthesis.roll": 2}, r"margin=2 and roll=2: .* set one of them to 0"),
        ({"student.train.labels": "stored"}, r"row 'noise' cannot have labels='stored'"),
        ({"student.real_train.labels": "stored"}, r"row 'real' cannot have labels='stored'"),
        ({"student.train.warmup": 20}, r"warmup=20 of student\.train: .* steps=20"),
        ({"student.train.schedule": "exponential"}, r"final_learning_rate=0 of student\.train"),
        ({"search.train.color_jitter": (0.1, 0.1, 0.1, 0.1)}, r"color_jitter=.* of search\.train"),
        ({"search.pool": 2}, r"search\.pool=2 makes images smaller"),
        ({"search.pool": 3, "search.train.labels": "stored"}, r"search\.pool=3 does not divide"),
        ({"data.memory_gb": 0.0}, r"memory_gb=0 has room for no image, .* search .*; raise it"),
        ({"search.held_out": 1e-9}, r"held_out=1e-09 of 128 images leaves nothing"),
        ({"search.evolution.max_macs": 10}, r"max_macs=10: the smallest network .* has \d+; raise"),
        ({"search.evolution.max_memory": 10}, r"max_memory=10: a search .* less than \d+; raise"),
        ({"search.spos.sampling": "binned"}, r"spos\.bins=\(\) must be"),
        ({"synthesis.batch_size": 30}, r"images=64 is not a multiple of .*batch_size=30"),
        ({"synthesis.resolutions": ((3, 4),)}, r"pools by 3, which does not divide"),
        ({"teacher.image_size": (8, 8, 3)}, r"mean=\(0\.305,\) is not one number for each channel"),
        ({"teacher.arch": "nobody"}, r"no teacher architecture 'nobody'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_mistakes_that_would_show_after_hours(changes, message):
    config = tiny.get_config()
    config.update_from_flattened_dict(changes)
    with pytest.raises(UserError, match=message):
        _check(config, *NAMES)


def test_an_architecture_that_is_given_needs_no_image_at_hand():
    config = tiny.get_config()
    config.data.memory_gb = 0.0
    config.search.update(strategy="given", architecture="332012")
    _check(config, *NAMES)


def test_limits_that_random_networks_do_not_keep(monkeypatch):
    config = tiny.get_config()
    config.search.evolution.update(max_params=4822, population=1)
    _check(config, *NAMES)
    monkeypatch.setattr(limits, "TRIES", 1)
    with pytest.raises(UserError, match=r"none of 1 random networks .* keeps .* max_params=4822"):
        _check(config, *NAMES)


def test_hardware_costs_that_have_no_logarithm():
    config = tiny.get_config()
    config.search.update(strategy="proxyless")
    config.search.hardware.update(cost="macs", reference=1.0)
    with pytest.raises(UserError, match=r"hardware\.reference=1 must be above 1"):
        _check(config, *NAMES)


def test_a_field_that_nothing_reads_and_one_that_is_missing():
    config = tiny.get_config()
    with config.unlocked():
        config.synthesis.batchsize = 3
    with pytest.raises(UserError, match=r"a field config\.synthesis\.batchsize, which nothing"):
        resolve(config)
    config = tiny.get_config()
    with config.unlocked():
        del config.search.pool
    with pytest.raises(UserError, match=r"has no field config\.search\.pool; start from"):
        resolve(config)


def test_images_are_opened_and_counted_before_the_first_stage(tmp_path):
    config = tiny.get_config()
    found = _check(config, *NAMES)
    assert {split: part["images"] for split, part in found["splits"].items()} == {
        "train": 1297,
        "test": 500,
    }
    assert _check(config, "synthesize", "report") is None
    labels = np.arange(20).reshape(-1, 1) % 12
    np.savez(tmp_path / "a.npz", images=np.full((20, 8, 8), 200, np.uint8), labels=labels)
    config.data.source = f"npz:{tmp_path}/a.npz"
    with pytest.raises(UserError, match="labels go from 0 to 11, the teacher's 10 classes are 0"):
        _check(config, *NAMES)
    assert _check(config, "synthesize") is None, "which reads no such images"
    config.data.source = f"folder:{tmp_path}/none"
    with pytest.raises(UserError, match="none"):
        _check(config, "train")
