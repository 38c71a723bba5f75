"""Artifacts that are damaged, or of another run, end in the right result or in one line.

Each is damaged in a copy of a finished run, of which the stages that read it are run again.
"""

import json
import random
import shutil
import sys

import pytest

from datafree_nas import pipeline
from datafree_nas.runtime.errors import UserError
from tests import tiny

DIRECTORIES = {stage.name: stage.directory for stage in pipeline.STAGES}

FACTORY = "tests.small_model:create"
TRIES = 500
# what is run again, for a file of the folder of this stage
READERS = {
    "teacher": ("synthesize", "search", "train", "report"),
    "synthetic": ("search", "train", "report"),
    "search": ("train", "report"),
    "student": ("report",),
    "report": ("report",),
    "data.json": ("report",),
}


def _config(seed=0):
    config = tiny.get_config()
    config.seed = seed
    config.teacher.factory = FACTORY
    config.teacher.train.steps = 40
    config.synthesis.update(images=32, batch_size=16, resolutions=((2, 2), (1, 2)))
    config.search.strategy = "given"
    config.search.architecture = "|skip_connect~0|+|none~0|skip_connect~1|+" + (
        "|nor_conv_1x1~0|none~1|skip_connect~2|"
    )
    config.student.train.steps = 4
    config.student.rows = ("synthetic",)
    return config


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two finished runs, which differ in the seed."""
    places = [tmp_path_factory.mktemp("runs") / name for name in ("mine", "another")]
    for seed, place in enumerate(places):
        pipeline.run(_config(seed), place, pipeline.NAMES)
    return places


def _files(workdir):
    paths = [path.relative_to(workdir) for path in sorted(workdir.rglob("*"))]
    return [
        path
        for path in paths
        if (workdir / path).is_file() and "tensorboard" not in path.parts and path.name != ".lock"
    ]


def _hostile(value, generator):
    """A JSON value in which one thing is something else."""
    others = [
        None,
        -1,
        2**70,
        1e308,
        float("nan"),
        "",
        "os:system",
        [],
        {},
        [[[]]],
        True,
        "\x1b[2J",
    ]
    if isinstance(value, dict) and value and generator.random() < 0.9:
        key = generator.choice(sorted(value))
        if generator.random() < 0.2:
            return {name: inner for name, inner in value.items() if name != key}
        return value | {key: _hostile(value[key], generator)}
    if isinstance(value, list) and value and generator.random() < 0.8:
        place = generator.randrange(len(value))
        return [*value[:place], _hostile(value[place], generator), *value[place + 1 :]]
    return generator.choice(others)


def _damage(file, another, generator):
    """Damages a file in one of several ways, and says how."""
    content = bytearray(file.read_bytes())
    kinds = ["truncated", "a bit flipped", "emptied", "removed", "other bytes"]
    kinds += ["of another run"] * another.exists() + ["other types"] * 3 * (file.suffix == ".json")
    kind = generator.choice(kinds)
    if kind == "truncated":
        content = content[: generator.randrange(len(content) or 1)]
    elif kind == "a bit flipped" and content:
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    elif kind == "emptied":
        content = b""
    elif kind == "other bytes":
        content = generator.randbytes(200)
    elif kind == "of another run":
        content = another.read_bytes()
    elif kind == "other types":
        content = json.dumps(_hostile(json.loads(content), generator)).encode()
    file.unlink()
    if kind != "removed":
        file.write_bytes(content)
    return kind


def _line(workdir, what):
    """Runs all stages; the line of the error, None if there was none."""
    try:
        pipeline.run(_config(), workdir, pipeline.NAMES)
    except UserError as error:
        return str(error)
    except Exception as error:
        raise AssertionError(what) from error
    return None


@pytest.mark.slow
def test_damaged_artifacts(runs, tmp_path):
    mine, another = runs
    expected = (mine / "report" / "summary.json").read_bytes()
    generator, modules = random.Random(5), set(sys.modules)
    files, refused = _files(mine), 0
    for number in range(TRIES):
        workdir = tmp_path / str(number)
        shutil.copytree(mine, workdir)
        name = generator.choice(files)
        kind = _damage(workdir / name, another / name, generator)
        unmarked = READERS[name.parts[0]] if generator.random() < 0.7 else ()
        for stage in unmarked:  # so that they are run again
            (workdir / DIRECTORIES[stage] / "done.json").unlink(missing_ok=True)
        line = _line(workdir, f"try {number}: {name}, {kind}, again: {unmarked}")
        if line is None:
            found = (workdir / "report" / "summary.json").read_bytes()
            assert found == expected, f"try {number}: {name}, {kind}, again: {unmarked}"
        else:
            assert "\n" not in line
            refused += 1
        shutil.rmtree(workdir)
    assert 0 < refused < TRIES
    print(f"{refused} of {TRIES} were refused, the others ended in the right result")
    foreign = {name.partition(".")[0] for name in set(sys.modules) - modules}
    assert not foreign & {"antigravity", "this", "turtle"}
