"""Programs as a user starts them, each in a fork of one process that has imported what they need.

For programs that end in an error, which takes much less than to import JAX and the rest.
"""

import functools
import importlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

ROOT = Path(__file__).parents[1]


@functools.cache
def _server(*modules):
    command, pipe = [sys.executable, "-m", "tests.forks", *modules], subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)


def run(module, *flags, after="", **environment):
    """Runs `python -m module flags` in the root of the repository, as `subprocess.run` would.

    Args:
        module: that is run.
        *flags: of the program.
        after: module that the process has imported as well, which the program need not then.
        **environment: variables that it has besides those of the tests.
    """
    command = [f"{ROOT}/{module.replace('.', '/')}.py", *map(str, flags)]
    server = _server(*[after] * bool(after))
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps([module, command, folder, environment]), file=server.stdin, flush=True)
        status = int(server.stdout.readline())
        out, err = ((Path(folder) / name).read_text() for name in ("out", "err"))
    return subprocess.CompletedProcess(command, status, out, err)


def _become(module, command, folder, environment):
    """Turns this process into the program, whose output goes into two files of the folder."""
    for name, descriptor in (("out", 1), ("err", 2)):
        file = os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT)
        os.dup2(file, descriptor)
    sys.argv[:] = command
    os.environ.update(environment)
    status = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _serve():
    from datafree_nas import pipeline  # noqa: F401  # all that a program may need, imported once
    from datafree_nas.teachers import port  # noqa: F401

    for module in sys.argv[1:]:
        importlib.import_module(module)
    for line in sys.stdin:
        process = os.fork()
        if not process:
            _become(*json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)


if __name__ == "__main__":
    _serve()
