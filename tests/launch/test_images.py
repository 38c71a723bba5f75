"""The Dockerfiles, as far as they can be checked without a daemon."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "launch").glob("Dockerfile.*"))


def _instructions(file):
    """`[(name, rest)]`, with continued lines joined."""
    text = re.sub(r"\\\n\s*", "", file.read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def _context():
    """What .dockerignore lets through: names after `!`, all else being left out by `*`."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    return [rule[1:] for rule in rules if rule.startswith("!")]


def test_there_are_two():
    assert [file.suffix for file in FILES] == [".cuda", ".tpu"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_dockerfile(file):
    instructions = _instructions(file)
    known = {"FROM", "RUN", "WORKDIR", "COPY", "ARG", "USER", "ENV", "ENTRYPOINT"}
    assert {name for name, _ in instructions} <= known
    name, base = instructions[0]
    assert name == "FROM"
    assert re.fullmatch(r"python:3\.12\.\d+-slim-\w+@sha256:[0-9a-f]{64}", base)

    # Python itself is process 1: in the form of a shell, /bin/sh would get SIGTERM
    assert instructions[-1][0] == "ENTRYPOINT"
    assert json.loads(instructions[-1][1]) == ["python", "-m", "datafree_nas.main"]

    args = dict(rest.split("=") for name, rest in instructions if name == "ARG")
    [user] = [rest for name, rest in instructions if name == "USER"]
    user = args.get(user.strip("${}"), user)
    assert user != "root"
    assert f"useradd --create-home {user}" in file.read_text()

    extra = file.suffix[1:]
    [install] = [rest for name, rest in instructions if rest.startswith("pip install")]
    assert f"'.[{extra}]'" in install
    assert f"\n{extra} = [" in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_what_is_copied_is_there(file):
    sources = [
        source
        for name, rest in _instructions(file)
        if name == "COPY"
        for source in rest.split()[:-1]
    ]
    assert sorted(sources) == sorted(_context())
    for source in sources:
        assert (ROOT / source).exists(), source
