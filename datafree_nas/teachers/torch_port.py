"""PyTorch checkpoints into Flax variables, by an explicit key table and a strict check."""

import hashlib
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from datafree_nas.runtime.errors import UserError
from datafree_nas.teachers.teacher import Teacher

_WRAPPERS = ("state_dict", "model")
_MAX_LISTED = 8


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """Reads a checkpoint's tensors; code in a pickle is never run.

    Args:
        path: `.safetensors`, or what `torch.save` wrote: a state dict, bare or under
            `state_dict` or `model`, with or without DataParallel's `module.`.

    Raises:
        UserError: no such file, not a checkpoint, or a pickle that holds more than tensors.
    """
    if not path.is_file():
        raise UserError(f"no checkpoint at {path}")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    tensors = _unwrap(_torch_load(path), path)
    return {key.removeprefix("module."): value for key, value in tensors.items()}


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    import safetensors.numpy
    from safetensors import SafetensorError

    try:
        return safetensors.numpy.load_file(path)
    except (SafetensorError, ValueError, OSError) as error:
        raise UserError(f"{path} is not a readable safetensors file: {error}") from None


def _torch_load(path: Path) -> Any:
    try:
        import torch
    except ImportError:
        raise UserError(
            f"reading {path} needs PyTorch; install it: pip install 'datafree_nas[torch]'"
        ) from None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"{path} is not a plain checkpoint of tensors ({reason}); "
            "save the model's state_dict() and port that file"
        ) from None
    except (RuntimeError, EOFError, ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} is damaged or no PyTorch checkpoint: {reason}") from None


def _unwrap(loaded: Any, path: Path) -> dict[str, np.ndarray]:
    for name in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(name), Mapping):
            loaded = loaded[name]
    tensors = loaded.items() if isinstance(loaded, Mapping) else ()
    arrays = {str(k): v.float().numpy() for k, v in tensors if hasattr(v, "is_floating_point")}
    if not arrays:
        raise UserError(f"{path} holds no state dict, nor one under {' or '.join(_WRAPPERS)}")
    return arrays


def convert(teacher: Teacher, state_dict: Mapping[str, np.ndarray], abstract: Any) -> Any:
    """Puts every tensor in its place.

    Args:
        teacher: whose key table is used.
        state_dict: tensors by PyTorch name.
        abstract: shapes of the variables, from `jax.eval_shape` of the model's `init`.

    Returns:
        Variables of `abstract`'s structure, float32 NumPy arrays.

    Raises:
        UserError: missing, unexpected or mis-shaped tensors, which it lists.
    """
    given = {k: v for k, v in state_dict.items() if not k.endswith("num_batches_tracked")}
    _check_batch_norm(teacher, given)
    problems = _listed("missing", teacher.torch_keys.keys() - given.keys())
    problems += _listed("unexpected", given.keys() - teacher.torch_keys.keys())
    variables: dict[str, Any] = {}
    mis_shaped = []
    for key in teacher.torch_keys.keys() & given.keys():
        path = teacher.torch_keys[key]
        value = _to_flax_layout(np.asarray(given[key], np.float32))
        wanted = _at(abstract, path).shape
        if value.shape != wanted:
            mis_shaped.append(f"{key} {value.shape} instead of {wanted}")
        _put(variables, path, value)
    problems += _listed("mis-shaped", mis_shaped)
    if problems:
        raise UserError(
            f"the checkpoint does not fit {teacher.arch}: {'; '.join(problems)}; "
            "choose another --arch or another file"
        )
    return variables


def _check_batch_norm(teacher: Teacher, given: Mapping[str, np.ndarray]) -> None:
    if not any(key.endswith("running_mean") for key in given):
        raise UserError(
            f"the checkpoint has no BatchNorm statistics (no running_mean), and {teacher.arch} "
            "needs them: synthesis matches them; port a checkpoint with BatchNorm not folded"
        )


def _listed(what: str, keys: Any) -> list[str]:
    keys = sorted(keys)
    if not keys:
        return []
    more = f" and {len(keys) - _MAX_LISTED} more" if len(keys) > _MAX_LISTED else ""
    return [f"{len(keys)} {what}: {', '.join(keys[:_MAX_LISTED])}{more}"]


def _to_flax_layout(value: np.ndarray) -> np.ndarray:
    """OIHW -> HWIO for convolutions (grouped ones too), OI -> IO for dense layers."""
    if value.ndim == 4:
        return value.transpose(2, 3, 1, 0)
    return value.T if value.ndim == 2 else value


def _at(tree: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        tree = tree[name]
    return tree


def _put(tree: dict[str, Any], path: tuple[str, ...], value: np.ndarray) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value


def sha256(path: Path) -> str:
    """The checksum of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
