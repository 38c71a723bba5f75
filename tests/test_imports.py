"""Imports run one way: runtime ← data ← teachers, spaces ← training ← ... ← pipeline ← main."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "datafree_nas"
FILES = sorted((ROOT / PACKAGE).rglob("*.py"))
CONFIGS = sorted((ROOT / "configs").rglob("*.py"))

# room -> the other rooms that it may import
MAY_IMPORT = {
    "runtime": set(),
    "data": {"runtime"},
    "interop": {"runtime"},
    "layers": {"runtime"},
    "teachers": {"runtime", "data", "interop", "layers"},
    "spaces": {"runtime", "data", "layers"},
    "training": {"runtime", "data", "layers"},
    "synthesis": {"runtime", "data", "training", "teachers"},
    "search": {"runtime", "data", "layers", "training", "spaces"},
    "students": {"runtime", "data", "interop", "training", "spaces"},
    "report": {"runtime"},
    "schema": {"runtime", "spaces", "training", "synthesis", "search", "students"},
    "resolve": {"runtime", "data", "interop", "teachers", "spaces", "search"},
    "stage": {"runtime"},
    "class_order": {"runtime"},
    "preflight": {
        *("runtime", "data", "teachers", "spaces", "training"),
        *("synthesis", "search", "students", "schema", "resolve"),
    },
    "pipeline": {
        *("runtime", "data", "teachers", "spaces", "training"),
        *("synthesis", "search", "students", "report"),
        *("stage", "schema", "resolve", "preflight", "class_order"),
    },
    "plan": {
        *("runtime", "data", "teachers", "spaces", "training", "synthesis", "search"),
        *("report", "pipeline"),
    },
    "main": {"runtime", "schema", "pipeline", "plan"},
    "port_torch": {"runtime", "data", "interop", "teachers"},
    "export_onnx": {"runtime", "students"},
}


def _imported(file: Path) -> set[str]:
    """The full dotted name of everything that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _top(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def _room(file: Path) -> str:
    return file.relative_to(ROOT / PACKAGE).parts[0].removesuffix(".py")


def _name(file: Path) -> str:
    return str(file.relative_to(ROOT))


def test_every_room_has_its_rule():
    assert {_room(file) for file in FILES} - {"__init__"} == MAY_IMPORT.keys()


@pytest.mark.parametrize("file", FILES, ids=_name)
def test_rooms_import_one_way(file):
    ours = [n.split(".") for n in _imported(file) if n.partition(".")[0] == PACKAGE]
    rooms = {parts[1] for parts in ours if len(parts) > 1}
    room = _room(file)
    assert rooms <= MAY_IMPORT.get(room, set()) | {room}
    outside = {"configs", "benchmarks", "tests"}
    if room == "pipeline":  # an artifact of an older version was made with a new field's default
        outside -= {"configs"}
    assert not _top(_imported(file)) & outside


@pytest.mark.parametrize("file", [f for f in FILES if _room(f) == "report"], ids=_name)
def test_report_reads_files_and_runs_nothing(file):
    rooms = ("errors", "files", "records", "terminal")
    allowed = ("report", *(f"runtime.{room}" for room in rooms))
    for name in _imported(file):
        if name.startswith(f"{PACKAGE}."):
            assert f"{name}.".startswith(tuple(f"{PACKAGE}.{a}." for a in allowed))
    assert not _top(_imported(file)) & {"jax", "flax", "optax"}


@pytest.mark.parametrize("file", CONFIGS, ids=_name)
def test_configs_import_ml_collections_and_each_other(file):
    assert _top(_imported(file)) <= {"ml_collections", "configs"}


def test_one_file_imports_orbax():
    importers = [_name(file) for file in FILES if "orbax" in _top(_imported(file))]
    assert importers == [f"{PACKAGE}/runtime/checkpoint.py"]
