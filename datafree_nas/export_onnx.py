"""Writes a trained student as ONNX: `python -m datafree_nas.export_onnx --workdir=D --out=F`.

The ONNX file maps bytes to logits, as `student.stablehlo` does; see docs/students.md.
"""

from datafree_nas.runtime import terminal

if __name__ == "__main__":
    terminal.prepare()  # before the other imports, which take seconds

from pathlib import Path

from absl import app, flags

from datafree_nas.runtime.errors import exit_cleanly
from datafree_nas.runtime.files import make_directory, write_bytes
from datafree_nas.runtime.flags import parse
from datafree_nas.runtime.processes import say
from datafree_nas.students import onnx_file, student

_WORKDIR = flags.DEFINE_string("workdir", None, "of a run that has trained", required=True)
_ROW = flags.DEFINE_string("row", "synthetic", "which student: a folder in the workdir's student/")
_OUT = flags.DEFINE_string("out", None, "file to write, e.g. student.onnx", required=True)


def _export() -> None:
    trained = student.load(Path(_WORKDIR.value) / "student" / _ROW.value)
    content, difference = onnx_file.convert(trained)
    out = Path(_OUT.value)
    make_directory(out.parent)
    write_bytes(out, content)
    say(f"{out}: {len(content):,} bytes; logits as in JAX but for {difference:.0e} of the largest")


def main(_argv: list[str]) -> None:
    """Exports the student that the flags name."""
    exit_cleanly(_export)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
