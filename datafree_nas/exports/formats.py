"""The formats of exported files, by their names."""

import importlib.util

from datafree_nas.exports import onnx_file, stablehlo, tflite, torch_file
from datafree_nas.exports.format import Format
from datafree_nas.runtime.errors import UserError

FORMATS = {
    each.name: each
    for each in (onnx_file.FORMAT, tflite.FORMAT, stablehlo.FORMAT, torch_file.FORMAT)
}


def find(name: str, int8: bool) -> Format:
    """Returns a format that can be used here.

    Args:
        name: name of the format.
        int8: whether int8 files are wanted.

    Raises:
        UserError: a module that the format needs is not installed, or the format has no int8.
    """
    found = FORMATS[name]
    if int8 and found.quantize is None:
        able = " or ".join(f"--format={n}" for n, each in FORMATS.items() if each.quantize)
        raise UserError(f"--format={name} has no int8; use {able}")
    check_installed(found, f"--format={name}")
    return found


def check_installed(chosen: Format, flag: str) -> None:
    """Checks that this Python has the modules of a format.

    Args:
        chosen: format that is asked for.
        flag: flag that asks for the format, for the error message.

    Raises:
        UserError: a module is missing; the message says how to install it.
    """
    missing = [module for module in chosen.requires if importlib.util.find_spec(module) is None]
    if missing:
        raise UserError(
            f"{flag} needs {', '.join(missing)}, which this Python does not have; "
            f"install: {chosen.install}"
        )
