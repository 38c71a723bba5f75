"""MCT's side of benchmarks.mct: commands of the worker, and the files that they exchange.

This module is not a command.
"""

import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from benchmarks import children
from datafree_nas.data.augment import normalize
from datafree_nas.runtime.errors import UserError
from datafree_nas.teachers import Teacher

# torch writes the networks in this environment and reads them in that one, so both have the same
PINS = ("torch==2.13.0", "torchvision==0.28.0", "model-compression-toolkit==2.6.1")
_FIND = """
import sys
from importlib import metadata
for name in sys.argv[1:]:
    try:
        print(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        pass
"""


def check(python: str) -> dict[str, str]:
    """Checks that a Python interpreter is there and has the packages that the worker needs.

    Returns:
        The version of each of these packages by its name.

    Raises:
        UserError: it is not there, or lacks some; the message has the command that installs them.
    """
    names = {pin.partition("==")[0]: pin for pin in PINS}
    try:
        found = subprocess.run(
            [python, "-c", _FIND, *names], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "strerror", None) or "it is no Python"
        raise UserError(
            f"--mct_python={python} does not run ({reason}); make an environment for MCT: "
            f"python3 -m venv DIR; DIR/bin/pip install {' '.join(PINS)}"
        ) from None
    versions = dict(line.split() for line in found.stdout.splitlines())
    if missing := names.keys() - versions:
        pins = " ".join(pin for name, pin in names.items() if name in missing)
        raise UserError(
            f"--mct_python={python} lacks packages; install them: {python} -m pip install {pins}"
        )
    return versions


def save_network(module: Any, path: Path) -> None:
    """Writes a PyTorch module as a graph that can be loaded without the source code of its class.

    Args:
        module: module of layers of torch.nn, whose forward pass torch.fx can trace.
        path: path of the file.
    """
    import torch

    torch.save(torch.fx.symbolic_trace(module.eval()), path)


def normalized(images: UInt8[np.ndarray, "n h w c"], teacher: Teacher) -> Float[np.ndarray, "..."]:
    """Converts bytes into what a PyTorch network takes, normalized `[n c h w]`."""
    x = normalize(jnp.asarray(images), teacher.mean, teacher.std)
    return np.ascontiguousarray(np.asarray(x).transpose(0, 3, 1, 2))


def as_bytes(x: Float[np.ndarray, "n c h w"], teacher: Teacher) -> UInt8[np.ndarray, "n h w c"]:
    """Converts back what `normalized` has converted; values between two bytes are rounded."""
    pixels = x.transpose(0, 2, 3, 1) * np.array(teacher.std) + np.array(teacher.mean)
    return np.clip(np.round(255 * pixels), 0, 255).astype(np.uint8)


class Result(NamedTuple):
    """What the worker has written, and how long it took.

    Attributes:
        array: generated images `[n c h w]`, normalized, or logits `[n k]` of the test images.
        seconds: time of MCT itself.
        seconds_with_start: time of the process.
    """

    array: np.ndarray
    seconds: float
    seconds_with_start: float


class Worker(NamedTuple):
    """MCT for one network.

    Attributes:
        python: path of the interpreter of MCT's environment.
        network: file of the network, from `save_network`.
        directory: folder of the files that are exchanged.
    """

    python: str
    network: Path
    directory: Path

    def generate(self, name: str, **settings: int) -> Result:
        """Generates images.

        Args:
            name: name of the files of this call.
            **settings: `images`, `seed` and the arguments of `mct_worker.generate`.
        """
        return self._run(name, "generate", "images", **settings)

    def quantize(self, name: str, calibration: np.ndarray, test: np.ndarray) -> Result:
        """Quantizes the network, and computes its logits.

        Args:
            name: name of the files of this call.
            calibration: normalized images `[n c h w]`.
            test: normalized images `[n c h w]` for the logits.
        """
        files = {}
        for role, images in (("calibration", calibration), ("test", test)):
            files[role] = self.directory / f"{name}_{role}.npz"
            np.savez(files[role], images=images)
        return self._run(name, "quantize", "logits", **files)

    def _run(self, name: str, action: str, wanted: str, **flags: Any) -> Result:
        out = self.directory / f"{name}.npz"
        flags |= {"network": self.network, "out": out}
        command = [self.python, "-m", "benchmarks.mct_worker", action]
        command += [f"--{flag}={value}" for flag, value in flags.items()]
        whole = children.run(command, out.with_suffix(".log"))
        with np.load(out) as file:
            return Result(file[wanted], float(file["seconds"]), whole)
