"""Checkpoints: saves and loads arrays with Orbax, which no other file imports.

What is saved is the same in every process, or belongs to one of them. The first of the processes
that work together writes it, as arrays of the host. So a run may go on with another number of
devices or processes.
"""

import contextlib
import hashlib
import json
import logging
import shutil
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from datafree_nas.runtime import mesh, mirror, processes, records
from datafree_nas.runtime.behind import Behind
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import check_space, make_directory, write_json, writing

KEEP = 2  # checkpoints: the newest, and the one before it in case the newest is damaged
_PATTERN = "[]*?\\"  # characters of a path that Orbax takes for parts of a pattern
_SEAL = "seal.json"  # checksums of a checkpoint's files, written once it was read back
_STATE = "state.json"  # what a loop's checkpoint holds, see `records.STATE`
_CHUNK = 1 << 22
_stage: ContextVar[tuple[Path, str] | None] = ContextVar("stage", default=None)  # see `of_stage`
_FILE_BYTES = 1 << 10
# asyncio logs failures to write once more, some time after Orbax has raised them
logging.getLogger("asyncio").setLevel(logging.CRITICAL)


def _by_itself() -> ocp.options.MultiprocessingOptions:
    """Returns options that make Orbax work in this process alone; it would wait for all others."""
    me = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process_{me}"
    )


def check_place(directory: Path) -> None:
    """Refuses the path of a checkpoint that could not be read back.

    Raises:
        UserError: the path has a character that Orbax takes for part of a pattern.
    """
    wrong = sorted(set(_PATTERN) & set(str(directory.absolute())))
    if wrong:
        raise UserError(
            f"{directory.absolute()}: checkpoints cannot be kept below a path with "
            f"{' or '.join(wrong)}; choose another name for the directory"
        )


def save_variables(directory: Path, variables: Any) -> None:
    """Writes a pytree of arrays; first removes an earlier one from the same folder.

    Raises:
        UserError: the folder cannot be written, or what was written cannot be read back.
    """
    check_place(directory)
    arrays = mesh.on_host(variables)
    check_space(directory, _size(arrays))
    handler = ocp.StandardCheckpointHandler(multiprocessing_options=_by_itself())
    checkpointer = ocp.Checkpointer(handler, multiprocessing_options=_by_itself())
    with checkpointer, writing(directory):
        checkpointer.save(directory.absolute(), arrays, force=True)
        _read_back(directory)
        _seal(directory)
        mirror.push(directory)


def load_variables(directory: Path, card: Mapping[str, Any] | None = None) -> Any:
    """Reads back what `save_variables` wrote, as NumPy arrays on the host.

    Args:
        directory: folder of the checkpoint.
        card: content of the JSON card beside the checkpoint. Its field `weights`, if it has one,
            has to be the `digest` of the variables.

    Raises:
        UserError: there is no readable checkpoint, or it holds other variables than the card says.
    """
    check_place(directory)
    if not directory.is_dir():
        raise UserError(f"no variables at {directory}")
    if (directory / _SEAL).exists() and not _is_sealed(directory):
        raise UserError(f"the variables at {directory} are damaged; their checksums differ")
    variables = _read_back(directory)
    if card and card.get("weights", digest(variables)) != digest(variables):
        raise UserError(
            f"the variables at {directory} are not those of the card beside them; restore both"
        )
    return variables


def digest(variables: Any) -> str:
    """Computes a checksum of the paths and values of all weights and statistics."""
    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        total.update(jax.tree_util.keystr(path).encode())
        total.update(np.ascontiguousarray(leaf).tobytes())
    return f"sha256 {total.hexdigest()}"


def _read_back(directory: Path) -> Any:
    """Reads what Orbax has written; raises `UserError` with one line if that fails."""
    try:
        return _read(directory)
    except Exception as error:  # TensorStore and each layer of Orbax have their own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"the checkpoint at {directory} cannot be read: {reason[:300]}") from error


def _read(directory: Path) -> Any:
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=_by_itself())
    shapes = handler.metadata(directory.absolute()).tree
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), shapes)
    return handler.restore(directory.absolute(), args=ocp.args.PyTreeRestore(restore_args=as_numpy))


def _size(tree: Any) -> int:
    """Adds up the bytes of arrays, with what their files take besides."""
    return sum(leaf.nbytes + _FILE_BYTES for leaf in jax.tree.leaves(tree))


@contextlib.contextmanager
def of_stage(directory: Path, made_from: str) -> Iterator[None]:
    """Marks the checkpoints that loops write in this block, and refuses those of other runs.

    Args:
        directory: folder of the stage.
        made_from: fingerprint of the stage's config and inputs.
    """
    token = _stage.set((directory.absolute(), made_from))
    try:
        yield
    finally:
        _stage.reset(token)


class Progress:
    """The resumable state of one loop: its newest checkpoints.

    The first process of a run writes them, in the background. A checkpoint counts once it was read
    back and sealed. One that is not sealed, or whose files have changed since, is removed with a
    warning.
    """

    def __init__(self, directory: Path):
        check_place(directory)
        self.directory = make_directory(directory.absolute())
        self._belongs_to = _owner(self.directory)
        self._behind = Behind()
        self._pushed: set[int] = set()
        self._manager = ocp.CheckpointManager(
            self.directory,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=KEEP, create=False, multiprocessing_options=_by_itself()
            ),
        )

    def restore(self, state: Any) -> tuple[int, Any]:
        """Returns the iteration and the state of the newest good checkpoint.

        Args:
            state: state of the same structure, shapes, dtypes and shardings as the saved one.

        Returns:
            Number of finished iterations, and the state after them; `(0, state)` if there is no
            good checkpoint.

        Raises:
            UserError: the newest good state is of another run, or of another structure.
        """
        latest = processes.from_first(self._newest() if processes.primary() else None)
        if latest is None:
            return 0, state
        folder = self.directory / str(latest)
        before = self._description(folder)
        if before["belongs_to"] != self._belongs_to:
            raise UserError(
                f"{folder} is the checkpoint of another run; remove {folder.parent} to begin this "
                "part of the stage anew"
            )
        saved = _by_path(folder, _read_back(folder / "default"), before["leaves"], _paths(state))
        leaves, structure = jax.tree.flatten(state)
        found = []
        for path, leaf in zip(_paths(state), leaves, strict=True):
            try:
                found.append(mesh.placed_like(saved[path], leaf))
            except ValueError as error:
                raise _of_another_version(folder, f"{path}: {error}") from None
        return latest, jax.tree.unflatten(structure, found)

    def _description(self, folder: Path) -> dict[str, Any]:
        """Reads what a checkpoint holds; versions before 2026-11-28 did not write it."""
        if not (folder / _STATE).exists():
            return {"belongs_to": self._belongs_to, "leaves": None}
        return records.read(folder / _STATE, records.STATE)

    def _newest(self) -> int | None:
        """Returns the iteration of the newest good checkpoint; removes newer damaged ones."""
        for step in sorted(self._manager.all_steps(), reverse=True):
            if _is_sealed(self.directory / str(step)):
                return step
            print(
                f"warning: the checkpoint {self.directory / str(step)} is unfinished or damaged; "
                "going on from the one before it",
                file=sys.stderr,
            )
            self._manager.delete(step)
        return None

    def save(self, iteration: int, state: Any) -> None:
        """Begins to save once the previous save is done; keeps only the newest `KEEP`."""
        if not processes.primary() or jax.process_index():
            return  # Orbax writes NumPy arrays only in process 0; see docs/scale.md, Stopping
        self._behind.wait()
        mirror.flush()
        leaves = jax.tree.leaves(mesh.on_host(state))
        check_space(self.directory, _size(leaves))
        content = dict(zip(_names(len(leaves)), leaves, strict=True))
        with writing(self.directory):
            self._manager.save(iteration, args=ocp.args.PyTreeSave(content), force=True)
        self._behind.do(self._finish, iteration, _paths(state))

    def _finish(self, iteration: int, paths: list[str]) -> None:
        """Waits until a checkpoint has been written, reads it back and seals it."""
        with writing(self.directory):
            self._manager.wait_until_finished()
        folder = self.directory / str(iteration)
        try:
            _read_back(folder / "default")
        except UserError as error:  # this checkpoint does not count; the one before it does
            print(f"warning: {error}", file=sys.stderr, flush=True)
            return
        write_json(folder / _STATE, {"belongs_to": self._belongs_to, "leaves": paths})
        _seal(folder)
        mirror.push(folder)
        for step in self._pushed - set(self._manager.all_steps()):
            mirror.remove(self.directory / str(step))
        self._pushed = {*self._manager.all_steps()}

    def close(self) -> None:
        """Waits for the last save; the files stay for the next start."""
        self._behind.close()
        self._manager.close()


def _paths(state: Any) -> list[str]:
    """Lists the path of every leaf of a state, as text."""
    return [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, _ in jax.tree_util.tree_leaves_with_path(state)
    ]


def _names(count: int) -> list[str]:
    """Lists the names of leaves in a checkpoint: numbers, which every file system allows."""
    return [f"{i:05d}" for i in range(count)]


def _owner(directory: Path) -> str:
    """Returns the stage's fingerprint and the loop's folder in it; empty outside of stages."""
    stage = _stage.get()
    return f"{stage[1]} {directory.relative_to(stage[0]).as_posix()}" if stage else ""


def _by_path(
    folder: Path, saved: dict[str, np.ndarray], before: list[str] | None, paths: list[str]
) -> dict[str, Any]:
    """Maps paths to the leaves of a checkpoint; the paths have to be those of the loop's state.

    Args:
        folder: folder of the checkpoint.
        saved: arrays of the checkpoint by their numbers.
        before: paths of these arrays in their order; None if an older version did not write them.
        paths: paths of the leaves of the loop's state.
    """
    before = paths if before is None else before
    if len(saved) != len(before):
        raise _of_another_version(folder, f"it has {len(saved)} arrays, not {len(before)}")
    for path in sorted(set(before) ^ set(paths)):
        has, lacks = ("it", "this version") if path in before else ("this version", "it")
        raise _of_another_version(folder, f"{has} has {path}, which {lacks} has not")
    return {path: saved[name] for path, name in zip(before, _names(len(before)), strict=True)}


def _of_another_version(folder: Path, difference: str) -> UserError:
    return UserError(
        f"{folder} was saved by another version of this program ({difference}); go on with that "
        f"version, or remove {folder.parent} to begin this part of the stage anew"
    )


def _checksums(folder: Path) -> dict[str, int]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _SEAL)
    return {str(path.relative_to(folder)): _checksum(path) for path in files}


def _checksum(path: Path) -> int:
    """Computes the CRC-32 of a file, which shows damage by disks and networks."""
    total = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            total = zlib.crc32(chunk, total)
    return total


def _seal(folder: Path) -> None:
    write_json(folder / _SEAL, _checksums(folder))


def _is_sealed(folder: Path) -> bool:
    try:
        return json.loads((folder / _SEAL).read_text()) == _checksums(folder)
    except (OSError, ValueError):
        return False


def is_intact(directory: Path) -> bool:
    """Tells whether a directory holds what was saved there, unchanged, and nothing else."""
    if directory.is_symlink() or not _is_sealed(directory):
        return False
    sealed = {directory / name for name in json.loads((directory / _SEAL).read_text())}
    there = {path for path in directory.rglob("*") if path.is_symlink() or not path.is_dir()}
    return there == {*sealed, directory / _SEAL}


def discard(directory: Path) -> None:
    """Removes a loop's saved state, once its result is safe elsewhere."""
    shutil.rmtree(directory, ignore_errors=True)
    mirror.remove(directory)
