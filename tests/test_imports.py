"""Imports run one way: runtime ← data ← teachers, spaces ← training ← ... ← pipeline ← main."""

import ast
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "datafree_nas"
FILES = sorted((ROOT / PACKAGE).rglob("*.py"))
CONFIGS = sorted((ROOT / "configs").rglob("*.py"))

# room -> the other rooms that it may import; a room's `stage.py`, which only the pipeline imports,
# is above all rooms
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
    "stage": {"runtime"},
    "artifact": {"runtime", "stage"},
    "experiment": {"runtime", "data", "teachers", "spaces", "search", "stage", "schema"},
    "*/stage": {
        *("runtime", "data", "teachers", "spaces", "training"),
        *("synthesis", "search", "students", "report"),
        *("stage", "experiment"),
    },
    "schema": {
        *("runtime", "data", "teachers", "spaces", "training"),
        *("synthesis", "search", "students"),
    },
    "class_order": {"runtime", "data", "training", "experiment"},
    "preflight": {"data", "stage", "experiment"},
    "pipeline": {
        *("runtime", "data", "*/stage"),
        *("stage", "artifact", "schema", "experiment", "preflight", "class_order"),
    },
    "plan": {"runtime", "report", "preflight", "experiment", "pipeline"},
    "main": {"runtime", "report", "schema", "pipeline", "plan"},
    "port_torch": {"runtime", "data", "interop", "teachers"},
    "exports": {"runtime", "data", "stage", "teachers", "synthesis", "students"},
    "export": {"runtime", "exports"},
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


def _room(parts: Sequence[str]) -> str:
    """The room of a module, whose path below the package is given."""
    return "*/stage" if len(parts) > 1 and parts[1] == "stage" else parts[0]


def _parts(file: Path) -> tuple[str, ...]:
    return file.relative_to(ROOT / PACKAGE).with_suffix("").parts


def _name(file: Path) -> str:
    return str(file.relative_to(ROOT))


def test_every_room_has_its_rule():
    assert {_room(_parts(file)) for file in FILES} - {"__init__"} == MAY_IMPORT.keys()


@pytest.mark.parametrize("file", FILES, ids=_name)
def test_rooms_import_one_way(file):
    ours = [n.split(".") for n in _imported(file) if n.partition(".")[0] == PACKAGE]
    rooms = {_room(parts[1:]) for parts in ours if len(parts) > 1}
    room = _room(_parts(file))
    assert rooms <= MAY_IMPORT.get(room, set()) | {room}
    outside = {"configs", "benchmarks", "tests"}
    if room == "experiment":  # an artifact of an older version was made with a new field's default
        outside -= {"configs"}
    assert not _top(_imported(file)) & outside


def _imported_at_once(file: Path) -> set[str]:
    """The modules of the package that are imported when a file is, not later in a function."""
    modules = {_dotted(each) for each in FILES}
    found: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {
                name if (name := f"{node.module}.{alias.name}") in modules else str(node.module)
                for alias in node.names
            }
    return found & modules


def _dotted(file: Path) -> str:
    return ".".join((PACKAGE, *_parts(file))).removesuffix(".__init__")


def test_no_modules_import_each_other():
    waiting = {_dotted(file): _imported_at_once(file) for file in FILES}
    while ready := {name for name, needed in waiting.items() if not needed & waiting.keys()}:
        waiting = {name: needed for name, needed in waiting.items() if name not in ready}
    assert not waiting, "each of these imports another one of them"


@pytest.mark.parametrize("file", [f for f in FILES if _room(_parts(f)) == "report"], ids=_name)
def test_report_reads_files_and_runs_nothing(file):
    rooms = ("errors", "files", "records", "terminal", "workdir")
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
