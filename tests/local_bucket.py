"""The whole job with a bucket that is a folder of this machine, for tests of processes that die.

A command for `tests.processes`: `gs://NAME/...` is the folder of that name below `$LOCAL_BUCKETS`.
"""

import io
import os
import sys
from functools import partial
from pathlib import Path

import fsspec
from absl import app
from fsspec.implementations.local import LocalFileSystem

from datafree_nas import main
from datafree_nas.runtime import flags

MAIN = [sys.executable, "-m", "tests.local_bucket", "--config=tests/tiny.py"]


class Buckets(LocalFileSystem):
    """Google's storage, as far as we use it: what is written is there as a whole or not at all."""

    protocol = ("gs", "gcs")

    def __init__(self, **settings):
        super().__init__(auto_mkdir=True, **settings)

    @classmethod
    def _strip_protocol(cls, path):
        path = str(path)
        if path.startswith(("gs://", "gcs://")):
            path = f"{os.environ['LOCAL_BUCKETS']}/{path.partition('://')[2]}"
        return LocalFileSystem._strip_protocol(path)

    def _open(self, path, mode="rb", block_size=None, **settings):
        if "w" in mode:
            return _Upload(self._strip_protocol(path))
        return super()._open(path, mode, block_size, **settings)


class _Upload(io.BytesIO):
    """A file that is there once it is closed."""

    def __init__(self, path):
        super().__init__()
        self._path = Path(path)

    def close(self):
        if not self.closed:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial = self._path.with_name(f".{self._path.name}.{os.getpid()}")
            partial.write_bytes(self.getvalue())
            partial.replace(self._path)
        super().close()


if __name__ == "__main__":
    fsspec.register_implementation("gcs", Buckets, clobber=True)
    app.run(main.main, flags_parser=partial(flags.parse, default_config="tests/tiny.py"))
