"""The files of a run that are for use elsewhere: sizes, links, and how each is used."""

import os
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from datafree_nas.report.artifacts import JsonObject
from datafree_nas.report.summary import is_of_family
from datafree_nas.report.text import percent
from datafree_nas.runtime import records
from datafree_nas.runtime.files import size
from datafree_nas.runtime.workdir import Workdir

# name of each format for people, by its name on the command line; the formats of `exports.formats`
FORMATS = {
    "onnx": "ONNX",
    "tflite": "TFLite",
    "coreml": "Core ML",
    "stablehlo": "StableHLO",
    "torch": "torch.export",
}
QUANTIZED = ("onnx", "tflite")  # formats that have int8
_STABLEHLO = """\
import jax.export
import numpy as np

with open("student.stablehlo", "rb") as file:
    student = jax.export.deserialize(file.read())
logits = student.call(np.load("images.npy"))"""
_PYTORCH = """\
import numpy as np
import torch
from student import Student

student = Student.load("student.safetensors")
logits = student(torch.from_numpy(np.load("images.npy")))"""
# what the train stage writes: names of the files, what they are, a program that uses them
_WRITTEN = (
    (("student.stablehlo",), "StableHLO, float32", _STABLEHLO),
    (("student.py", "student.safetensors"), "PyTorch, float32", _PYTORCH),
)
_USE = "python use.py images.npy"


class File(NamedTuple):
    """A file.

    Attributes:
        name: name without folders.
        link: URL relative to the folder of the report.
        size: number of bytes.
    """

    name: str
    link: str
    size: int


class Entry(NamedTuple):
    """One or several files that are used together.

    Attributes:
        files: the files that are there.
        what: format and precision, for people.
        use: program or command that uses them, to be run in their folder.
    """

    files: list[File]
    what: str
    use: str


class Owner(NamedTuple):
    """A network with its files.

    Attributes:
        folder: folder of a student in the workdir; empty for the teacher.
        title: name of the network and of its training images, for people.
        main: whether it is a result of the run, and not only there for comparison.
        entries: files that are there.
        commands: command for each export that is not there.
    """

    folder: str
    title: str
    main: bool
    entries: list[Entry]
    commands: list[str]


def owners(
    root: Path, place: str, results: Mapping[str, JsonObject], config: Mapping[str, Any]
) -> list[Owner]:
    """Lists the networks of a run with their files: its results, the teacher, then the others.

    Args:
        root: folder of the run.
        place: name of that folder in the commands.
        results: result of each trained network by its folder.
        config: settings of the run; those that name code of the user are part of the commands.

    Raises:
        UserError: the card of an export is damaged.
    """
    paths = Workdir(root)
    titles = {name: _title(name, results) for name in results if name != "teacher"}
    if paths.card.exists():
        titles["teacher"] = "teacher"
    order = sorted(titles, key=lambda name: (not _is_main(name), name != "teacher"))
    return [_owner(paths, name, titles[name], _command(place, name, config)) for name in order]


def _is_main(name: str) -> bool:
    return name == "synthetic" or is_of_family(name)


def _title(name: str, results: Mapping[str, JsonObject]) -> str:
    row = results[name]
    pick = name == "synthetic" and any(map(is_of_family, results))
    return f"{row['name']}{' (the pick)' * pick} · {row['data']}"


def _owner(paths: Workdir, name: str, title: str, command: str) -> Owner:
    written = _written(paths, name)
    cards = {card: records.read(card, records.EXPORT) for card in paths.export_cards(name)}
    present = {path: card for path, card in cards.items() if (path.parent / card["file"]).exists()}
    exported = {(card["format"], card["int8"]) for card in present.values()}
    if written:
        exported.add(("stablehlo", False))  # the train stage has written it
    return Owner(
        "" if name == "teacher" else f"{paths.students.name}/{name}",
        title,
        _is_main(name),
        written + [_exported(paths, path, card) for path, card in present.items()],
        [
            f"{command} --format={format_name}{' --int8' * int8}"
            for format_name in FORMATS
            for int8 in (False, True)
            if (format_name, int8) not in exported and (format_name in QUANTIZED or not int8)
        ],
    )


def _command(place: str, name: str, config: Mapping[str, Any]) -> str:
    """Returns the command that exports a network, without its format."""
    flags = [f"--workdir={place}"]
    space, factory = config["search"]["space"]["name"], config["teacher"]["factory"]
    if name == "teacher":
        flags += ["--teacher", *([f"--factory={factory}"] if factory else [])]
    else:
        flags += [] if name == "synthetic" else [f"--row={name}"]
        flags += [f"--space={space}"] if ":" in space else []
    return shlex.join(["python", "-m", "datafree_nas.export", *flags])


def _written(paths: Workdir, name: str) -> list[Entry]:
    """Lists what the train stage has written; some spaces have no `student.py`."""
    folder = paths.students / name
    return [
        Entry(_files(paths, (folder / each for each in names)), what, use)
        for names, what, use in _WRITTEN
        if all((folder / each).exists() for each in names)
    ]


def _exported(paths: Workdir, path: Path, card: JsonObject) -> Entry:
    """Describes an export whose card is at `path`."""
    name = FORMATS.get(card["format"], card["format"])  # it may be of a later version
    what = f"{name}, {'int8' if card['int8'] else 'float32'}"
    if card["int8"]:
        what += (
            f", same top class as float32 on {percent(card['agreement'])} of {card['checked_on']} "
            f"{card['checked_kind']}"
        )
    if card.get("not_run"):
        what += f", not run: {card['not_run']}"
    files = [path.parent / each for each in (card["file"], "use.py", "check.npz")]
    return Entry(_files(paths, files), what, _USE)


def _files(paths: Workdir, found: Iterable[Path]) -> list[File]:
    return [
        File(
            file.name,
            quote(Path(os.path.relpath(file, paths.report)).as_posix()),
            size(file),
        )
        for file in found
        if file.exists()
    ]
