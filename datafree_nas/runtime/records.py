"""The JSON files that stages write, and the values that their fields may have.

A file of a workdir may come from another version or from a stranger, or may be edited by hand. It
is only data: the type and range of every field are checked when the file is read, and no field
names code to be run.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import read_json, read_jsonl
from datafree_nas.runtime.values import (
    Values,
    anything,
    boolean,
    integer,
    list_of,
    mapping_of,
    name,
    number,
    object_of,
    text,
)


class Record(NamedTuple):
    """The fields of a JSON object.

    Attributes:
        fields: allowed values of each field, by its name.
        others: allowed values of fields with other names, which other versions may write.
    """

    fields: Mapping[str, Values]
    others: Values = anything()


_ANY_LENGTH = range(10**9)
_COUNT = integer(0, 10**18)
_NUMBER = number(-1e300, 1e300)
_MEMORY = _COUNT.or_none().or_absent()  # elements; earlier versions did not count them
_SHARE = number(0, 1)
_MEASURED = Values(  # not finite for a network through which no signal passes
    "a number, which may be NaN or infinite",
    lambda value: isinstance(value, int | float) and not isinstance(value, bool),
).or_none()


def _list(each: Values) -> Values:
    return list_of(each, _ANY_LENGTH, "a list")


_TEXTS = _list(text())
_FILE = Values(  # in the same folder
    "the name of a file, without folders",
    lambda value: isinstance(value, str) and value not in ("", "..") and Path(value).name == value,
)
_IMAGE_SIZE = list_of(integer(1, 4096), (3,), "(height, width, channels)")
_MEAN = list_of(number(-1e3, 1e3), range(1, 65), "one number a channel")
_STD = list_of(number(0, 1e3, above=True), range(1, 65), "one number a channel")

# teacher.json
CARD = Record(
    {
        "arch": name(),
        "graph": text().or_absent(),
        "num_classes": integer(2, 10**6),
        "image_size": _IMAGE_SIZE,
        "mean": _MEAN,
        "std": _STD,
        "input_range": list_of(_NUMBER, (2,), "two numbers"),
        "weights": text().or_absent(),
        "params": _COUNT,
        "macs": _COUNT,
        "batch_norm_layers": _COUNT,
        "checks": _list(object_of({"name": text(), "passed": boolean(), "message": text()})),
        "source": mapping_of(text()),
        "class_names": _TEXTS.or_none().or_absent(),
    }
)
_NEEDED = ("arch", "num_classes", "image_size", "mean", "std")
# the card, with only those fields required that a teacher is built from
DESCRIPTION = Record(
    {field: kind if field in _NEEDED else kind.or_absent() for field, kind in CARD.fields.items()}
)
# student.json
STUDENT = Record(
    {
        "space": object_of(
            {"name": name(), "image_size": _IMAGE_SIZE, "num_classes": integer(2, 10**6)}
        ),
        "architecture": name(),
        "mean": _MEAN,
        "std": _STD,
        "weights": text().or_absent(),
    }
)
# data.json
IMAGES = Record(
    {
        "source": text(),
        "splits": mapping_of(object_of({"name": text(), "images": _COUNT})),
        "classes": mapping_of(integer(0, 10**6)),
        "classes_by": text(),
        "skipped": mapping_of(_COUNT),
        "notes": _TEXTS,
        "warnings": _TEXTS,
    }
)
# a line of history.jsonl
SCORED = Record({"architecture": name(), "macs": _COUNT, "memory": _MEMORY, "score": _MEASURED})
# architecture.json
FOUND = Record(
    {
        **SCORED.fields,
        **dict.fromkeys(("space", "strategy", "data"), text()),
        **dict.fromkeys(("params", "evaluated", "seed"), _COUNT),
        **dict.fromkeys(("agreement", "kl", "correlation", "max_macs"), _MEASURED),
        "scored_by": text().or_none(),
        "front_cost": name().or_absent(),
        "front": _list(object_of(SCORED.fields)).or_absent(),
        "graph": object_of({"nodes": _TEXTS, "edges": _list(_list(anything()))}),
    }
)
# probabilities.json
PROBABILITIES = Record(
    {
        "steps": _list(_COUNT),
        "ops": _TEXTS,
        "positions": _TEXTS,
        "values": _list(_list(_list(_SHARE))),
    }
)
# a line of metrics.jsonl
METRICS = Record({"step": _COUNT, "phase": text().or_absent()}, _NUMBER)
# a file in units/ of the synthesis
UNIT = Record(
    {
        "round": _COUNT,
        "batch": _COUNT,
        "curves": _list(object_of({"step": _COUNT, "phase": text()}, _NUMBER)),
    }
)
# an entry of rounds.json
ROUND = Record({"round": _COUNT, "images": _COUNT}, _NUMBER)
# result.json of a student
RESULT = Record(
    {
        "name": text(),
        "data": text(),
        "row": text().or_absent(),
        "labels": text().or_absent(),
        "recipe": text().or_absent(),
        "test_accuracy": _SHARE.or_none(),
        "agreement": _SHARE.or_none().or_absent(),
        "kl": _MEASURED.or_none().or_absent(),
        "held_out": _COUNT.or_absent(),
        "macs": _COUNT,
        "params": _COUNT,
        "memory": _MEMORY,
        "seed": _COUNT,
        "order": _COUNT,
        "architecture": text().or_absent(),
    }
)
# export.json of an exported file
EXPORT = Record(
    {
        "format": name(),
        "int8": boolean(),
        "agreement": _SHARE.or_none(),
        "checked_on": _COUNT,
        "checked_kind": text(),
        "not_run": text().or_absent(),
        "file": _FILE,
    }
)
# summary.json
SUMMARY = Record(
    {
        "headline": text().or_absent(),
        "note": text().or_absent(),
        "rows": _list(
            object_of(
                {
                    "name": text(),
                    "data": text(),
                    "labels": text().or_none(),
                    "networks": integer(1, 10**6),
                    "test_accuracy": _SHARE.or_none(),
                    "agreement": _SHARE.or_none(),
                    "kl": _MEASURED,
                    "spread": mapping_of(_MEASURED),
                    "macs": _COUNT,
                    "params": _COUNT,
                }
            )
        ),
    }
)
# state.json of a loop's checkpoint
STATE = Record({"belongs_to": text(), "leaves": _TEXTS})
# done.json of a stage
DONE = Record({"files": mapping_of(text()).or_absent()})
# config.json of a stage, with a name for each field of the config
MADE_FROM = Record({})
# checksums.json, with a name for each shard
CHECKSUMS = Record({}, text())


def read(path: Path, record: Record, advice: str = "") -> dict[str, Any]:
    """Reads a JSON object and checks its fields.

    Args:
        path: path of the JSON file.
        record: fields that the object has to have.
        advice: last part of the error line. Default: restore the file, or remove its folder.

    Raises:
        UserError: the file is missing, no JSON, no object, or a field is missing or has a value
            that it may not have.
    """
    advice = advice or made_again(path)
    return check(_parsed(read_json, path, advice), record, str(path), advice)


def read_lines(path: Path, record: Record) -> list[dict[str, Any]]:
    """Reads the objects of a JSON-lines file, none if there is no file; see `read`."""
    advice = made_again(path)
    rows: list[dict[str, Any]] = _parsed(read_jsonl, path, advice)
    for place, row in enumerate(rows, start=1):
        check(row, record, f"{path}, line {place}", advice)
    return rows


def read_list(path: Path, record: Record) -> list[dict[str, Any]]:
    """Reads a JSON list of objects; see `read`."""
    advice = made_again(path)
    rows = _parsed(read_json, path, advice)
    if not isinstance(rows, list):
        raise UserError(f"{path} is no list; {advice}")
    return [check(row, record, f"{path}, entry {i}", advice) for i, row in enumerate(rows, start=1)]


def _parsed(parse: Callable[[Path], Any], path: Path, advice: str) -> Any:
    """Parses a file; if that fails, adds advice to the end of the error line."""
    try:
        return parse(path)
    except UserError as error:
        raise UserError(f"{error}; {advice}") from None


def check(found: Any, record: Record, place: str, advice: str) -> dict[str, Any]:
    """Checks the fields of a value that was read from JSON.

    Args:
        found: value that was read from JSON.
        record: fields that the object has to have.
        place: file, and line or entry, where the value was found, for the error line.
        advice: last part of the error line, what to do.

    Returns:
        The same value, which is an object.

    Raises:
        UserError: it is no object, or a field is missing or has a value that it may not have.
    """
    if not isinstance(found, dict):
        raise UserError(f"{place} holds a {type(found).__name__}, not an object; {advice}")
    for field, kind in record.fields.items():
        if kind.required and field not in found:
            raise UserError(f"{place} has no {field!r}; {advice}")
    for field, value in found.items():
        kind = record.fields.get(field, record.others)
        if not kind.holds(value):
            shown = repr(value)
            shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
            raise UserError(f"{place}: {field!r} is {shown}, must be {kind.words}; {advice}")
    return dict(found)


def made_again(path: Path) -> str:
    """Returns advice about a damaged file in a stage's folder, for the end of an error line."""
    return f"restore the file, or remove {path.parent} and run the same command again"
