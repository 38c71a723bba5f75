"""A program without a library: `python -m tests.without torch datafree_nas.port_torch FLAGS`.

Importing the library fails as if it were not installed.
"""

import runpy
import sys

if __name__ == "__main__":
    library, module = sys.argv[1:3]
    sys.modules[library] = None
    del sys.argv[1:3]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
