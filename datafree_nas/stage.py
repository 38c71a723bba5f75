"""What a stage is, and when its artifact may be used again.

A stage's folder holds `config.json` (what the artifact is made from: fields of the config and
fingerprints of what is read, written first) and `done.json` (written last). A done stage is
skipped; a folder that was begun with other fields or from other inputs is an error.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from datafree_nas.runtime import mirror, records
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import fingerprint, write_json
from datafree_nas.runtime.programs import Program

CONFIG, DONE = "config.json", "done.json"
_SMALL = ("*.json", "*.jsonl", "*.png")
_WITHOUT = {"variables", "working"}  # folders of checkpoints
_CONTENT = " (content)"  # end of the name under which the fingerprint of a file is kept
_INPUT = "input "  # start of the name under which the fingerprint of an earlier artifact is kept


def _nothing(config: ConfigDict) -> list[str]:
    return []


@dataclass(frozen=True)
class Stage:
    """One of the steps from a classifier to a report.

    `run`, `check`, `programs` and `repair` take an `Experiment`, see `datafree_nas/experiment.py`.

    Attributes:
        name: name of the stage in `--stages`.
        directory: folder of its artifact, below the workdir.
        blocks: config blocks that its artifact depends on, besides those of earlier stages.
        results: patterns of the files, relative to its folder, whose content tells the artifact
            from others.
        run: function that makes the artifact.
        check_config: function that raises `UserError` for fields that do not fit together; takes
            the config and looks at no file.
        check: function that raises `UserError` for whatever else can be known before the stage is
            run; takes what `sources.inspect` says of the natural images as well, or None.
        reads: function that names the splits of natural images that the stage reads.
        lower_for_memory: fields to lower where the memory does not suffice.
        rebuilt: whether it is quickly made again when what it reads has changed.
        programs: function that lowers the programs of the stage for shapes, for `--plan`.
        repair: function that removes damaged parts of the artifact and returns their names; None
            where nothing can be made again in part.
    """

    name: str
    directory: str
    blocks: tuple[str, ...]
    results: tuple[str, ...]
    run: Callable[[Any], None]
    check_config: Callable[[ConfigDict], None] = lambda config: None
    check: Callable[[Any, dict[str, Any] | None], None] = lambda experiment, images: None
    reads: Callable[[ConfigDict], list[str]] = _nothing
    lower_for_memory: str = "what else runs on this machine"
    rebuilt: bool = False
    programs: Callable[[Any], list[Program]] = lambda experiment: []
    repair: Callable[[Any], list[str]] | None = None

    def is_done(self, workdir: Path) -> bool:
        """Returns whether the artifact is complete."""
        return (workdir / self.directory / DONE).exists()

    def fingerprint(self, workdir: Path) -> str | None:
        """Returns the fingerprint of the artifact, None where there is none."""
        folder = workdir / self.directory
        files = [file for pattern in self.results for file in sorted(folder.glob(pattern))]
        return fingerprint(*files) if files else None


def record(
    stage: Stage, workdir: Path, made_from: dict[str, Any], defaults: dict[str, Any]
) -> bool:
    """Notes what a stage's artifact is made from, or compares it with what was noted before.

    Args:
        stage: stage that is about to be run.
        workdir: folder of the run.
        made_from: fields and fingerprints, from `made_from`.
        defaults: values of fields that an older version did not have and therefore did not note.

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
    different = differences(unnoted | before, made_from)
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
