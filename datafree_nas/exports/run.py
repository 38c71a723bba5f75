"""Exports a network: files that are checked in the runtime that will use them."""

import os
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from datafree_nas.exports import pages
from datafree_nas.exports.format import Format, Images, Logits
from datafree_nas.exports.network import Network
from datafree_nas.runtime.errors import UserError
from datafree_nas.runtime.files import make_directory, size, write_json
from datafree_nas.runtime.workdir import EXPORT_CARD, Workdir
from datafree_nas.stage import DONE
from datafree_nas.synthesis import store

TOLERANCE = 1e-4  # allowed difference of a logit, as a share of the largest logit
_CALIBRATION = 512  # synthetic images on which int8 is calibrated
_CHECKED = 512  # images at most on which files are checked
_REASON = 300  # characters of a converter's message that are shown
_CARRIED = 8  # images at most that go along with a file to be checked elsewhere
_RANDOM = 8  # images of random bytes, where a run has no synthetic ones


class Samples(NamedTuple):
    """Images on which an export is calibrated and checked.

    Attributes:
        calibration: synthetic images, on which int8 is calibrated; none if the run has none.
        check: other images, on which the files are compared with JAX.
        kind: name of the images in `check`, for people.
    """

    calibration: Images
    check: Images
    kind: str


def samples(workdir: Workdir, network: Network) -> Samples:
    """Chooses images of a run; the same ones each time.

    Args:
        workdir: folder of the run. Without finished synthetic images, the files are checked on
            random bytes, and there is nothing to calibrate on.
        network: network that is exported.
    """
    generator = np.random.default_rng(0)
    if not (workdir.synthetic / DONE).exists():
        shape = (_RANDOM, *network.image_size)
        check = generator.integers(0, 256, shape, dtype=np.uint8)
        return Samples(check[:0], check, "images of random bytes")
    images = store.open_records(workdir.synthetic)
    order = generator.permutation(images.size)
    if workdir.held_out.exists():
        check = np.asarray(store.load(workdir.held_out).images)[:_CHECKED]
        kind = "held-out synthetic images"
    else:  # of a run of an older version
        count = min(_CHECKED, images.size // 2)
        check, order = np.asarray(images.take(order[:count]).images), order[count:]
        kind = "synthetic images that were not calibrated on"
    return Samples(np.asarray(images.take(order[:_CALIBRATION]).images), check, kind)


def export(network: Network, chosen: Format, int8: bool, images: Samples, folder: Path) -> str:
    """Writes the files of a network, if their runtime computes with them what JAX computes.

    Where the runtime cannot run, the line and the files say so. An earlier export in the same
    folder is replaced.

    Args:
        network: network that is exported.
        chosen: format of the files.
        int8: whether weights and activations are quantized to int8.
        images: images to calibrate and to check on.
        folder: folder for the files.

    Returns:
        One line on the files, for people.

    Raises:
        UserError: int8 is wanted and there is nothing to calibrate on, the folder holds something
            else, the network has an op that the format lacks, or the runtime computes something
            else.
    """
    check_folder(folder)
    if int8 and not len(images.calibration):
        raise UserError(
            "--int8 is calibrated on synthetic images, and this run has none; run its stage "
            "synthesize first"
        )
    make_directory(folder.parent)
    with tempfile.TemporaryDirectory(prefix=".", dir=folder.parent) as beside:
        new = make_directory(Path(beside) / folder.name)
        _converted(network, chosen, lambda: chosen.write(network, new))
        expected = network.compute(images.check)
        card = _card(network, chosen, images)
        if not chosen.not_run:
            difference = _checked(chosen, new, images.check, expected)
            card |= {"difference": difference, "checked_on": len(images.check)}
        if int8:
            assert chosen.quantize
            _converted(network, chosen, partial(chosen.quantize, new, images.calibration))
            found = chosen.run(new, images.check)
            same = float(np.mean(found.argmax(-1) == expected.argmax(-1)))
            card |= {"int8": True, "agreement": same, "calibrated_on": len(images.calibration)}
        (file,) = new.iterdir()
        card |= {"file": file.name, "bytes": size(file)}
        write_json(new / EXPORT_CARD, card)
        if chosen.carries_check:
            few, logits = images.check[:_CARRIED], expected[:_CARRIED]
            np.savez(new / "check.npz", images=few, logits=logits, tolerance=TOLERANCE)
        pages.write(new, network, chosen, card)
        if folder.exists():
            shutil.rmtree(folder)
        new.rename(folder)
    return f"{folder / card['file']}: {card['bytes']:,} bytes; {pages.finding(card)}"


def check_folder(folder: Path) -> None:
    """Checks that nothing but an earlier export would be replaced.

    Args:
        folder: folder for the files of an export; it need not exist.

    Raises:
        UserError: it is a file, or a folder with other files.
    """
    if os.path.lexists(folder) and not (folder / EXPORT_CARD).exists() and not _is_empty(folder):
        raise UserError(f"{folder} is there already and is no export; name a new folder with --out")


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _converted(network: Network, chosen: Format, convert: Callable[[], None]) -> None:
    """Runs a converter; a failure of it becomes one line."""
    try:
        convert()
    except UserError:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0][:_REASON]
        raise UserError(
            f"the converter of {chosen.name} cannot convert {network.title} "
            f"({type(error).__name__}: {reason}); try another --format"
        ) from error


def _checked(chosen: Format, folder: Path, images: Images, expected: Logits) -> float:
    """Returns the largest difference of a logit, as a share of the largest logit.

    Raises `UserError` if it is too large.
    """
    found = chosen.run(folder, images)
    difference = float(np.abs(found - expected).max() / np.abs(expected).max())
    if not difference <= TOLERANCE:
        raise UserError(
            f"the logits of the {chosen.name} file differ from JAX's by {difference:.1e} of the "
            "largest, so nothing was written; try another version of the converter "
            f"({chosen.install}), or another --format"
        )
    return difference


def _card(network: Network, chosen: Format, images: Samples) -> dict[str, Any]:
    return {
        "network": network.name,
        "title": network.title,
        "format": chosen.name,
        "int8": False,
        "image_size": list(network.image_size),
        "num_classes": network.num_classes,
        "class_names": network.class_names,
        "not_run": chosen.not_run,
        "difference": None,
        "agreement": None,
        "checked_on": 0,
        "checked_kind": images.kind,
        "calibrated_on": 0,
    }
