"""Sorts the tensors that a checkpoint holds in addition to the network's own.

Such a tensor was left there by a tool or a metric, or the user says to ignore it, or it normalizes
images, or it may be part of the network, so that a port without it would compute something else.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

import numpy as np

from datafree_nas.interop import torch_file
from datafree_nas.interop.torch_file import Tensor
from datafree_nas.runtime.errors import UserError

COUNTER = "num_batches_tracked"  # kept by PyTorch's BatchNorm, not needed here
_KNOWN = re.compile(
    r"(.*[._])?(criterion|loss)(_?(fn|func|function|module))?(\..*|_weights?)?"
    r"|(.*\.)?(total_ops|total_params)"  # thop
    r"|(.*\.)?n_averaged"  # torch.optim.swa_utils
    r"|(.*\.)?(tp|fp|tn|fn|correct|total|confmat|(mean|sum|max|min)_value)"  # torchmetrics
    r"|(.*[._])?(epochs?|steps?|best_?(acc\w*|loss))"
    r"|((.*\.)?(train|val|valid|validation|test)_)?(acc|accuracy|auroc|confmat|f1|metrics?)\..*"
)
_NORMALIZER = re.compile(r"(?!.*running_)(.*[._])?(mean|mu|std|sigma)")
_BYTES = 2.0  # a larger mean or standard deviation is of pixels in 0..255


class Beside(NamedTuple):
    """Names of the tensors that a checkpoint holds in addition to the network's own.

    Attributes:
        ignored: names of tensors that the network does not need.
        normalizers: names of tensors with a mean or a standard deviation of images.
        unexpected: names of tensors that may be part of the network.
    """

    ignored: list[str]
    normalizers: list[str]
    unexpected: list[str]


def sort(
    names: Iterable[str], tensors: Mapping[str, Tensor], ignore: Sequence[str], channels: int
) -> Beside:
    """Sorts tensors that are not the network's own.

    Args:
        names: names of these tensors.
        tensors: all tensors of the file, by name.
        ignore: patterns of names as in a shell, e.g. `projector.*`; a pattern may match the whole
            name, or the name inside of the file's dict that holds the tensor.
        channels: number of channels of the images.
    """
    found = Beside([], [], [])
    for name in names:
        tensor = tensors[name]
        inner = name.removeprefix(f"{tensor.group}.")
        if any(fnmatchcase(each, pattern) for each in (name, inner) for pattern in ignore):
            found.ignored.append(name)
        elif _NORMALIZER.fullmatch(inner) and _per_channel(tensor.shape, channels):
            found.normalizers.append(name)
        elif _KNOWN.fullmatch(inner):
            found.ignored.append(name)
        else:
            found.unexpected.append(name)
    return found


def _per_channel(shape: tuple[int, ...], channels: int) -> bool:
    return shape in ((channels,), (channels, 1, 1), (1, channels, 1, 1))


def ask_for_normalization(names: Sequence[str], tensors: Mapping[str, Tensor]) -> None:
    """Raises `UserError` that tells the values of a normalizer and the flags for them."""
    said, flags = [], []
    for name in names:
        values = torch_file.load(name, tensors[name]).ravel()
        said.append(f"{name} = {_list(values)}")
        flag = "--std" if re.search(r"(std|sigma)$", name) else "--mean"
        in_bytes = values.max() > _BYTES
        flags.append(f"{flag}={_list(values / 255 if in_bytes else values)}")
    raise UserError(
        f"beside the network the file holds {' and '.join(said)}, by which the network seems to "
        f"normalize its images itself; say {' '.join(flags)} (of pixels in [0, 1]), or what your "
        "images were normalized by"
    )


def _list(values: np.ndarray) -> str:
    return ",".join(f"{value:.6g}" for value in values)


def same_values(tensors: Mapping[str, Tensor], keys: Iterable[str], one: str, other: str) -> bool:
    """Returns whether the tensors under two prefixes have the same values."""

    def values(name: str) -> np.ndarray:
        return torch_file.load(name, tensors[name])

    return all(np.array_equal(values(one + key), values(other + key)) for key in keys)
