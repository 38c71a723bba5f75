"""What a stage is: one of the steps from a classifier to a report."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from datafree_nas.runtime.files import fingerprint
from datafree_nas.runtime.programs import Program

DONE = "done.json"  # in the folder of a stage, written last


def _nothing(config: ConfigDict) -> list[str]:
    return []


@dataclass(frozen=True)
class Stage:
    """One of the steps from a classifier to a report.

    `run`, `check`, `is_complete`, `programs` and `repair` take an `Experiment`, see
    `datafree_nas/experiment.py`.

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
        added: fields of its blocks that add to a finished artifact instead of changing it.
        is_complete: function that returns whether a finished artifact holds all that the config
            asks for.
        reads: function that names the splits of natural images that the stage reads.
        lower_for_memory: fields to lower where the memory does not suffice.
        beside: patterns of what else it reads, relative to the workdir. Of folders the names and
            sizes of the files count.
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
    added: tuple[str, ...] = ()
    is_complete: Callable[[Any], bool] = lambda experiment: True
    lower_for_memory: str = "what else runs on this machine"
    beside: tuple[str, ...] = ()
    rebuilt: bool = False
    programs: Callable[[Any], list[Program]] = lambda experiment: []
    repair: Callable[[Any], list[str]] | None = None

    def is_done(self, workdir: Path) -> bool:
        """Returns whether the artifact is complete."""
        return (workdir / self.directory / DONE).exists()

    def fingerprint(self, workdir: Path) -> str | None:
        """Returns the fingerprint of the artifact, None where there is none."""
        return _fingerprint(workdir / self.directory, *self.results)

    def fingerprints_beside(self, workdir: Path) -> dict[str, str | None]:
        """Returns the fingerprint of what each pattern of `beside` matches, None for nothing."""
        return {pattern: _fingerprint(workdir, pattern) for pattern in self.beside}


def _fingerprint(folder: Path, *patterns: str) -> str | None:
    files = [file for pattern in patterns for file in sorted(folder.glob(pattern))]
    return fingerprint(*files) if files else None
