"""The whole job, whose processes split batches of any size, as they do with larger images.

A command for `tests.processes`. Batches as small as those of the tests are otherwise computed whole
by every process (`mesh.worth_splitting`), which tests nothing that processes do together.
"""

import sys
from functools import partial

from absl import app

from datafree_nas import main
from datafree_nas.runtime import flags, mesh

MAIN = [sys.executable, "-m", "tests.splitting"]


if __name__ == "__main__":
    mesh._SPLIT_PIXELS = 0
    app.run(main.main, flags_parser=partial(flags.parse, default_config="tests/tiny.py"))
