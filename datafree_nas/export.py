"""Exports a network of a run: `python -m datafree_nas.export --workdir=DIR --format=onnx`.

Each export is a folder with the file, a program that uses it, and a page that describes it; see
docs/students.md.
"""

from datafree_nas.runtime import terminal

if __name__ == "__main__":
    terminal.prepare()  # before the other imports, which take seconds

from absl import app, flags

from datafree_nas.exports import formats, network, run
from datafree_nas.runtime.errors import UserError, exit_cleanly
from datafree_nas.runtime.files import as_path
from datafree_nas.runtime.flags import parse
from datafree_nas.runtime.processes import say
from datafree_nas.runtime.workdir import EXPORTS, Workdir

_WORKDIR = flags.DEFINE_string("workdir", None, "of a run that has trained", required=True)
_FORMAT = flags.DEFINE_enum("format", None, list(formats.FORMATS), "of the files", required=True)
_INT8 = flags.DEFINE_bool("int8", False, "quantize to int8, calibrated on the synthetic images")
_ROW = flags.DEFINE_string("row", "synthetic", "which student: a folder in the workdir's student/")
_TEACHER = flags.DEFINE_bool("teacher", False, "export the teacher instead of a student")
_OUT = flags.DEFINE_string("out", "", "folder to write; default: export/... in the workdir")
_FACTORY = flags.DEFINE_string("factory", "", "config.teacher.factory of the run, if it has one")
_SPACE = flags.DEFINE_string("space", "", "package.module:Class of a search space of your own")


def _export() -> None:
    if _TEACHER.value and _ROW.present:
        raise UserError("--teacher and --row name two networks; give one of them")
    if "://" in _WORKDIR.value:
        raise UserError(f"--workdir={_WORKDIR.value} is in a bucket; copy it into a folder first")
    chosen = formats.find(_FORMAT.value, _INT8.value)
    workdir = Workdir(as_path(_WORKDIR.value))
    if _TEACHER.value:
        found = network.of_teacher(workdir, _FACTORY.value)
    else:
        found = network.of_student(workdir, _ROW.value, _SPACE.value)
    kind = f"{chosen.name}_int8" if _INT8.value else chosen.name
    folder = as_path(_OUT.value) if _OUT.value else workdir.root / EXPORTS / found.name / kind
    folder = folder.resolve()  # "." has no name
    run.check_folder(folder)
    say(run.export(found, chosen, _INT8.value, run.samples(workdir, found), folder))


def main(_argv: list[str]) -> None:
    """Exports the network that the flags name."""
    exit_cleanly(_export)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
