"""Orbax behind a few verbs; nothing else imports it.

What is saved is the same in every process, or belongs to one of them: the first of those who work
together writes, as arrays of the host. So a run may go on with another number of devices or
processes.
"""

import json
import logging
import shutil
import sys
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from datafree_nas.runtime import mesh, mirror, processes
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import check_space, make_directory, write_json, writing

KEEP = 2  # the newest, and the one before it in case that one is damaged
_SEAL = "seal.json"  # checksums of a checkpoint's files, written when it is whole
_CHUNK = 1 << 22
_FILE_BYTES = 1 << 10
# it repeats every failure to write, at its leisure, that Orbax has raised before
logging.getLogger("asyncio").setLevel(logging.CRITICAL)


def _by_itself() -> ocp.options.MultiprocessingOptions:
    """Orbax would wait for all processes else."""
    me = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process_{me}"
    )


def save_variables(directory: Path, variables: Any) -> None:
    """Writes a pytree of arrays; an earlier one there is replaced only once this one is whole."""
    arrays = mesh.on_host(variables)
    check_space(directory, _size(arrays))
    handler = ocp.StandardCheckpointHandler(multiprocessing_options=_by_itself())
    checkpointer = ocp.Checkpointer(handler, multiprocessing_options=_by_itself())
    with checkpointer, writing(directory):
        checkpointer.save(directory.absolute(), arrays, force=True)
        _seal(directory)
        mirror.push(directory)


def load_variables(directory: Path) -> Any:
    """Reads back what `save_variables` wrote, as NumPy arrays on the host.

    Raises:
        UserError: there is no readable checkpoint.
    """
    if not directory.is_dir():
        raise UserError(f"no variables at {directory}")
    if (directory / _SEAL).exists() and not _is_sealed(directory):
        raise UserError(f"the variables at {directory} are damaged; their checksums differ")
    try:
        return _read(directory)
    except (ValueError, KeyError, OSError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"the variables at {directory} cannot be read: {reason}") from error


def _read(directory: Path) -> Any:
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=_by_itself())
    shapes = handler.metadata(directory.absolute()).tree
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), shapes)
    return handler.restore(directory.absolute(), args=ocp.args.PyTreeRestore(restore_args=as_numpy))


def _size(tree: Any) -> int:
    """Bytes of arrays, with what a file takes beside them."""
    return sum(leaf.nbytes + _FILE_BYTES for leaf in jax.tree.leaves(tree))


class Progress:
    """The resumable state of one loop: its newest checkpoints.

    They are written in the background. One counts as soon as it is sealed, which `settle` does;
    one that is not, or whose files have changed since, is left out with a warning.
    """

    def __init__(self, directory: Path):
        self.directory = make_directory(directory.absolute())
        self._unsealed: int | None = None
        self._pushed: set[int] = set()
        self._manager = ocp.CheckpointManager(
            self.directory,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=KEEP, create=False, multiprocessing_options=_by_itself()
            ),
        )

    def restore(self, state: Any) -> tuple[int, Any]:
        """The newest good state and its iteration, or `(0, state)` if there is none.

        Args:
            state: a state of the same structure, shapes, dtypes and shardings.
        """
        latest = processes.as_first(self._newest() if processes.primary() else None)
        if latest is None:
            return 0, state
        leaves, structure = jax.tree.flatten(state)
        saved = _read(self.directory / str(latest) / "default")
        values = [saved[name] for name in _names(leaves)]
        return latest, jax.tree.unflatten(structure, map(mesh.placed_like, values, leaves))

    def _newest(self) -> int | None:
        """The newest good one; those that are not are removed."""
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
        """Begins to save, once the save before is done; drops all but the newest `KEEP`."""
        if not processes.primary():
            return
        self.settle(wait=True)
        mirror.flush()
        leaves = jax.tree.leaves(mesh.on_host(state))
        check_space(self.directory, _size(leaves))
        content = dict(zip(_names(leaves), leaves, strict=True))
        with writing(self.directory):
            self._manager.save(iteration, args=ocp.args.PyTreeSave(content), force=True)
        self._unsealed = iteration

    def settle(self, wait: bool = False) -> None:
        """Seals the checkpoint that was begun, if it has been written; or waits until it is."""
        if self._unsealed is None or (self._manager.is_saving_in_progress() and not wait):
            return
        with writing(self.directory):
            self._manager.wait_until_finished()
        folder = self.directory / str(self._unsealed)
        _seal(folder)
        mirror.push(folder)
        for step in self._pushed - set(self._manager.all_steps()):
            mirror.remove(self.directory / str(step))
        self._pushed = {*self._manager.all_steps()}
        self._unsealed = None

    def close(self) -> None:
        """Leaves the files for the next start."""
        self.settle(wait=True)
        self._manager.close()


def _names(leaves: list[Any]) -> list[str]:
    return [f"{i:05d}" for i in range(len(leaves))]


def _checksums(folder: Path) -> dict[str, int]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _SEAL)
    return {str(path.relative_to(folder)): _checksum(path) for path in files}


def _checksum(path: Path) -> int:
    """CRC-32, which finds what disks and networks do to files."""
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
    """Whether a directory holds what was saved there, unchanged, and nothing else."""
    if directory.is_symlink() or not _is_sealed(directory):
        return False
    sealed = {directory / name for name in json.loads((directory / _SEAL).read_text())}
    there = {path for path in directory.rglob("*") if path.is_symlink() or not path.is_dir()}
    return there == {*sealed, directory / _SEAL}


def discard(directory: Path) -> None:
    """Removes a loop's saved state, once its result is safe elsewhere."""
    shutil.rmtree(directory, ignore_errors=True)
    mirror.remove(directory)
