"""Every field set to odd values, and the stage run that reads it: success or one line, no more."""

import math
import shutil

import pytest

from datafree_nas import pipeline, schema
from datafree_nas.runtime.errors import UserError
from tests import tiny

VALUES = [0, -1, 10**12, 1.5, math.nan, "", "odd", (), (0,)]
STAGE_OF = {"teacher": "teacher", "synthesis": "synthesize", "search": "search", "student": "train"}
MOST = 2
BLOCKS = {"name": "teacher", "seed": "teacher", "data": "train", **STAGE_OF}


def _tiniest():
    config = tiny.get_config()
    config.teacher.factory = "tests.small_model:create"
    config.teacher.train.update(steps=4, log_every=2)
    config.synthesis.update(images=32, rounds=1, resolutions=((1, 2),), log_every=1)
    config.search.space.cells = 1
    config.search.train.update(steps=2, log_every=1)
    config.search.evolution.update(population=2, generations=1)
    config.student.train.update(steps=2, log_every=1)
    config.student.rows = ("synthetic",)
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("fuzz") / "run"
    pipeline.run(_tiniest(), workdir, pipeline.NAMES)
    return workdir


def _accepted(field):
    """At most `MOST` configs with one of `VALUES` in a field that may have it by itself."""
    found = 0
    for value in VALUES:
        config = _tiniest()
        *blocks, name = field.split(".")
        block = config
        for each in blocks:
            block = block[each]
        if schema.FIELDS.get(field) and not schema.FIELDS[field].holds(value):
            continue
        with block.ignore_type():
            block[name] = value
        yield config
        found += 1
        if found == MOST:
            return


@pytest.mark.slow
@pytest.mark.parametrize("field", sorted(schema.flatten(tiny.get_config().to_dict())))
def test_a_stage_ends_well_or_in_one_line(field, finished, tmp_path):
    stage = BLOCKS[field.partition(".")[0]]
    for number, config in enumerate(_accepted(field)):
        workdir = tmp_path / str(number)
        for earlier in pipeline.STAGES[: pipeline.NAMES.index(stage)]:
            folder = earlier.directory
            shutil.copytree(finished / folder, workdir / folder)
        refusal = None
        try:
            pipeline.run(config, workdir, [stage])
        except UserError as error:
            refusal = str(error)
        assert refusal is None or (refusal and "\n" not in refusal)
