"""What lies beside an exported file: a page that describes it, and a program that uses it."""

from pathlib import Path
from typing import Any

from datafree_nas.exports.format import Format
from datafree_nas.exports.network import Network
from datafree_nas.runtime.files import write_bytes

_PROGRAM = '''\
"""Prints the class of each image in a file of NumPy: python use.py images.npy"""

import sys

import numpy as np

images = np.load(sys.argv[1])  # uint8 [b {height} {width} {channels}]

{usage}
print(*logits.argmax(axis=1))
'''
_PAGE = """\
# {file}

{title}. The file was written by datafree_nas, without the teacher's training data.

- Input: images of 0 to 255, {input_type} `[{batch} {height} {width} {channels}]`, not normalized.
- Output: logits, float32 `[{batch} {classes}]`. {names}
- {bytes:,} bytes. {finding}.

`python use.py images.npy` prints the class of each image in a file of NumPy. It needs
`{runtime}` and NumPy.{check}
"""
_CHECK = """

`check.npz` holds a few images with the logits that JAX computes. `use.py` first compares its own
logits with them, and stops if they differ.\
"""


def write(folder: Path, network: Network, chosen: Format, card: dict[str, Any]) -> None:
    """Writes `use.py` and `README.md`.

    Args:
        folder: folder of the export.
        network: network that was exported.
        chosen: format of the file.
        card: content of `export.json`.
    """
    height, width, channels = network.image_size
    sizes = {"height": height, "width": width, "channels": channels}
    write_bytes(folder / "use.py", _program(chosen.usage, sizes).encode())
    page = _PAGE.format(
        **sizes,
        **{name: card[name] for name in ("file", "bytes")},
        title=network.title[0].upper() + network.title[1:],
        batch=chosen.batch,
        classes=network.num_classes,
        names=_names(network.class_names),
        finding=finding(card)[0].upper() + finding(card)[1:],
        input_type=chosen.input_type,
        runtime=chosen.runtime,
        check=_CHECK if chosen.carries_check else "",
    )
    write_bytes(folder / "README.md", page.encode())


def _program(usage: str, sizes: dict[str, int]) -> str:
    """Puts the imports of a usage before the rest of the program."""
    lines = usage.splitlines()
    imports = [line for line in lines if line.startswith(("import ", "from "))]
    rest = "\n".join(line for line in lines if line not in imports).strip("\n")
    merged = "\n".join(sorted({"import numpy as np", *imports}, key=lambda s: s.split()[1]))
    program = _PROGRAM.format(**sizes, usage=rest)
    return program.replace("import numpy as np", merged)


def _names(class_names: list[str]) -> str:
    if not class_names:
        return "Logit k is the teacher's class k."
    return f"Classes, in order: {', '.join(class_names)}."


def finding(card: dict[str, Any]) -> str:
    """Says in one clause how the file compares with JAX.

    Args:
        card: content of `export.json`.
    """
    if card["not_run"]:
        return f"float32; not run: {card['not_run']}; use.py there first compares it with JAX"
    checked = f"{card['checked_on']} {card['checked_kind']}"
    if card["int8"]:
        return (
            f"int8, calibrated on {card['calibrated_on']} synthetic images; the top class of "
            f"float32 on {100 * card['agreement']:.1f} % of {checked}"
        )
    return f"float32; logits as in JAX but for {card['difference']:.0e} of the largest on {checked}"
