"""Measures what int8 changes in a network, by the images on which it is calibrated.

This module is not a command.
"""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from benchmarks import results
from datafree_nas.exports.format import Format, Images, Logits
from datafree_nas.exports.network import Network
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.progress import ProgressBar


class Compared(NamedTuple):
    """Images on which networks are compared.

    Attributes:
        images: images as bytes, `[n h w c]`.
        labels: true classes, `[n]`; None where there are none.
    """

    images: Images
    labels: Int[np.ndarray, "n"] | None = None


def measure(
    network: Network,
    formats: Sequence[Format],
    calibrations: Mapping[str, Images],
    tested: Mapping[str, Compared],
) -> list[results.Row]:
    """Quantizes a network in each format on each kind of images, and runs the files.

    Args:
        network: network with its float32 weights.
        formats: formats that have int8.
        calibrations: images to calibrate on, by their kind.
        tested: images to compare on, by their kind.

    Returns:
        A row for float32, then one for each format and calibration, with fields for each kind in
        `tested`: `accuracy_KIND` in per cent, where there are labels; `same_class_KIND`, per cent
        of the images to which the network gives the class that float32 gives.
    """
    expected = {kind: network.compute(each.images) for kind, each in tested.items()}
    rows = [compare("float32", expected, expected, tested)]
    bar = ProgressBar("int8", len(formats) * len(calibrations), "files")
    for chosen in formats:
        with tempfile.TemporaryDirectory() as folder:
            written = Path(folder) / "float32"
            written.mkdir()
            chosen.write(network, written)
            for kind, images in calibrations.items():
                quantized = Path(folder) / "int8"
                shutil.copytree(written, quantized)
                assert chosen.quantize
                chosen.quantize(quantized, images)
                found = {name: chosen.run(quantized, t.images) for name, t in tested.items()}
                shutil.rmtree(quantized)
                name = f"{chosen.name} int8, calibrated on {kind}"
                rows.append(compare(name, found, expected, tested))
                bar.update(len(rows) - 1, {})
    bar.close()
    return rows


def compare(
    name: str,
    found: Mapping[str, Logits],
    float32: Mapping[str, Logits],
    tested: Mapping[str, Compared],
) -> results.Row:
    """Builds the row of one network.

    Args:
        name: name of the row.
        found: logits of the network on the images of each kind.
        float32: logits of the float32 network on the same.
        tested: images of each kind.
    """
    row: results.Row = {"name": name}
    for kind, each in tested.items():
        classes = found[kind].argmax(-1)
        if each.labels is not None:
            row[f"accuracy_{kind}"] = 100 * float(np.mean(classes == each.labels))
        row[f"same_class_{kind}"] = 100 * float(np.mean(classes == float32[kind].argmax(-1)))
    return row


def photographs(size: tuple[int, int, int]) -> Images:
    """Cuts windows of a size out of scikit-learn's two photographs, every 40 pixels.

    Args:
        size: `(h, w, c)` of the windows, three channels.

    Raises:
        UserError: the photographs, of 427x640 pixels in colour, have no such windows.
    """
    from sklearn.datasets import load_sample_images

    height, width, channels = size
    if height > 427 or width > 640 or channels != 3:
        raise UserError(f"photographs of 427x640 pixels in colour have no windows of {size}")
    return np.stack(
        [
            photograph[top : top + height, left : left + width]
            for photograph in load_sample_images().images
            for top in range(0, 427 - height + 1, 40)
            for left in range(0, 640 - width + 1, 40)
        ]
    )
