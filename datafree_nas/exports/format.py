"""What a format of exported files is."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from datafree_nas.exports.network import Network

Images = UInt8[np.ndarray, "n h w c"]
Logits = Float[np.ndarray, "n k"]


class Format(NamedTuple):
    """A format, in the manner of `search.strategy.StrategyBuilder`.

    Attributes:
        name: name of the format on the command line.
        requires: modules that writing and running need, by the name in `import`.
        install: command that installs them.
        runtime: command that installs what a user of the file needs.
        batch: number of images at once, for people: `b` for any number.
        write: function `(network, folder)` that writes the files of a network.
        run: function `(folder, images) -> logits` that computes them with the format's runtime.
        usage: source of a program that uses the files; it is called with a file of images.
        quantize: function `(folder, images)` that replaces the files by int8 ones, calibrated on
            images; None where a format has no int8.
        input_type: type of the pixels that the files take.
        not_run: why files cannot be run on this system, for people; empty where they can. `write`
            then checks what it can without `run`.
        carries_check: whether a few images with JAX's logits and the tolerance go along, in
            `check.npz`, for `usage` to compare before anything else.
    """

    name: str
    requires: Sequence[str]
    install: str
    runtime: str
    batch: str
    write: Callable[[Network, Path], None]
    run: Callable[[Path, Images], Logits]
    usage: str
    quantize: Callable[[Path, Images], None] | None = None
    input_type: str = "uint8"
    not_run: str = ""
    carries_check: bool = False
