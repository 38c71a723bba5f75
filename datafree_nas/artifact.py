"""When the artifact of a stage may be used again.

A stage's folder holds `config.json` (what the artifact is made from: fields of the config and
fingerprints of what is read, written first) and `done.json` (written last). A done stage is
skipped; a folder that was begun with other fields or from other inputs is an error.
"""

from collections.abc import Collection, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from datafree_nas.runtime import mirror, records
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import fingerprint, write_json
from datafree_nas.stage import DONE, Stage

CONFIG = "config.json"
_SMALL = ("*.json", "*.jsonl", "*.png")
_WITHOUT = {"variables", "working"}  # folders of checkpoints
_CONTENT = " (content)"  # end of the name under which the fingerprint of a file is kept
_INPUT = "input "  # start of the name under which the fingerprint of an earlier artifact is kept


def record(
    stage: Stage,
    workdir: Path,
    made_from: dict[str, Any],
    defaults: dict[str, Any],
    added: Collection[str] = (),
    removed: Mapping[str, Any] | None = None,
) -> bool:
    """Notes what a stage's artifact is made from, or compares it with what was noted before.

    Args:
        stage: stage that is about to be run.
        workdir: folder of the run.
        made_from: fields and fingerprints, from `made_from`.
        defaults: values of fields that an older version did not have and therefore did not note.
        added: fields that add to an artifact instead of changing it, which older versions noted.
        removed: values of fields of older versions with which these did what is always done now.

    Returns:
        Whether the artifact has to be made anew: what it reads has changed, and it is quickly made.

    Raises:
        UserError: the folder holds something that was made from something else.
    """
    directory = workdir / stage.directory
    file = directory / CONFIG
    made = [path for path in directory.iterdir() if not path.name.startswith(".")]  # being written
    if not made or made == [file]:
        write_json(file, made_from)
    if not file.exists():
        raise UserError(
            f"{directory} holds files but no {CONFIG} that says what made them; choose another "
            f"--workdir, or remove {directory}"
        )
    before = records.read(file, records.MADE_FROM, "restore it, or choose another --workdir")
    unnoted = {name: defaults[name] for name in made_from if name in defaults}
    unnoted |= {f"{_INPUT}{pattern}": None for pattern in stage.beside}
    past = (*added, *(name for name, value in (removed or {}).items() if before.get(name) == value))
    noted = {name: value for name, value in before.items() if name not in past}
    different = differences(unnoted | noted, made_from)
    changed_inputs = [line for name, line in different.items() if name.startswith(_INPUT)]
    if stage.rebuilt and len(changed_inputs) == len(different):
        if changed_inputs:
            write_json(file, made_from)
        return bool(changed_inputs)
    if different:
        raise UserError(
            f"{directory} was made by another config or from other inputs: "
            f"{', '.join(different.values())}; choose another --workdir, or remove {directory} and "
            "those of the later stages"
        )
    return False


def made_from(
    fields: dict[str, Any], files: dict[str, Path | None], inputs: dict[str, str | None]
) -> dict[str, Any]:
    """Puts together what an artifact is made from.

    Args:
        fields: fields of the config, by dotted path.
        files: files and folders that fields name, by the same paths; None where there is none.
        inputs: fingerprints of the artifacts of earlier stages, by stage.
    """
    contents = {
        f"{name}{_CONTENT}": fingerprint(path) if path is not None and path.exists() else None
        for name, path in files.items()
        if fields.get(name)
    }
    earlier = {f"{_INPUT}{name}": value for name, value in inputs.items()}
    return {**fields, **contents, **earlier}


def differences(before: dict[str, Any], now: dict[str, Any]) -> dict[str, str]:
    """Compares what an artifact was made from with what it would be made from now.

    Of a file only the content counts, so that it may be moved; its path, where the content is not
    known.

    Args:
        before: fields and fingerprints as `config.json` keeps them, and the defaults of others.
        now: fields and fingerprints from `made_from`.

    Returns:
        What differs, in words for people, by name.
    """
    different = {}
    for name in sorted(before.keys() | now.keys()):
        was, is_ = before.get(name), now.get(name)
        if was == is_:
            continue
        if name.endswith(_CONTENT):
            if was and is_:
                different[name] = f"what {name.removesuffix(_CONTENT)} names has changed"
        elif name.startswith(_INPUT):
            if name in before and (is_ or was):
                different[name] = f"the {name.removeprefix(_INPUT)} stage has another result now"
        elif not (before.get(name + _CONTENT) and now.get(name + _CONTENT)):
            different[name] = f"{name} was {was!r}, is {is_!r}"
    return different


def reopen(stage: Stage, workdir: Path) -> None:
    """Takes back the mark that a stage is done, if there is one."""
    done = workdir / stage.directory / DONE
    done.unlink(missing_ok=True)
    mirror.remove(done)


def finish(stage: Stage, workdir: Path) -> None:
    """Marks a stage as done, and notes the checksums of the small files that it has left."""
    directory = workdir / stage.directory
    files = {name: fingerprint(path) for name, path in _sealed(directory).items()}
    write_json(directory / DONE, {"stage": stage.name, "files": files})


def check_unchanged(stage: Stage, workdir: Path) -> None:
    """Checks that the small files of a finished stage are what they were when it finished.

    Weights and images have checksums of their own, which are looked at when they are read.

    Raises:
        UserError: a file was edited or damaged, or one of the stage's results is missing. Others
            may be removed: logs, for example.
    """
    directory = workdir / stage.directory
    advice = "restore it, or remove it to run the stage again"
    noted = records.read(directory / DONE, records.DONE, advice).get("files", {})
    found = {name: fingerprint(path) for name, path in _sealed(directory).items()}
    for name, checksum in noted.items():
        is_result = any(fnmatch(name, pattern) for pattern in stage.results)
        if found.get(name, None if is_result else checksum) != checksum:
            raise UserError(
                f"{directory / name} has changed since the stage {stage.name} finished; restore "
                f"it, or remove {directory} and those of the later stages"
            )


def _sealed(directory: Path) -> dict[str, Path]:
    """Lists the files of a stage's folder that need a checksum, by their relative names."""
    found = [path.relative_to(directory) for each in _SMALL for path in directory.rglob(each)]
    return {
        path.as_posix(): directory / path
        for path in sorted(found)
        if path.name not in (CONFIG, DONE) and not _WITHOUT & set(path.parts)
    }
