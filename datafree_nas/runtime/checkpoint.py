"""Orbax behind three verbs; nothing else imports it."""

import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from datafree_nas.runtime.errors import UserError


def save_variables(directory: Path, variables: Any) -> None:
    """Writes a pytree of arrays; an earlier one there is replaced only once this one is whole."""
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(directory.absolute(), variables, force=True)


def load_variables(directory: Path) -> Any:
    """Reads back what `save_variables` wrote, as NumPy arrays on the host.

    Raises:
        UserError: there is no readable checkpoint.
    """
    if not directory.is_dir():
        raise UserError(f"no variables at {directory}")
    try:
        with ocp.PyTreeCheckpointer() as checkpointer:
            shapes = checkpointer.metadata(directory.absolute()).item_metadata.tree
            as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), shapes)
            return checkpointer.restore(directory.absolute(), restore_args=as_numpy)
    except (ValueError, KeyError, OSError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"the variables at {directory} cannot be read: {reason}") from error


class Progress:
    """The resumable state of one loop: the newest checkpoint and no other."""

    def __init__(self, directory: Path):
        self.directory = directory.absolute()
        self._manager = ocp.CheckpointManager(
            self.directory,
            options=ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False),
        )

    def restore(self, state: Any) -> tuple[int, Any]:
        """The newest saved state and its iteration, or `(0, state)` if there is none.

        Args:
            state: a state of the same structure, shapes, dtypes and shardings.
        """
        latest = self._manager.latest_step()
        if latest is None:
            return 0, state
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        return latest, self._manager.restore(latest, args=ocp.args.StandardRestore(abstract))

    def save(self, iteration: int, state: Any) -> None:
        """Saves, then drops the one before."""
        self._manager.save(iteration, args=ocp.args.StandardSave(state), force=True)
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Leaves the files for the next start."""
        self._manager.close()


def discard(directory: Path) -> None:
    """Removes a loop's saved state, once its result is safe elsewhere."""
    shutil.rmtree(directory, ignore_errors=True)
