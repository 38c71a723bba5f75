"""Where compiled programs are kept, so that the next start need not compile them again.

They are machine code, which whoever can write there could replace by his own. So they are kept with
the user's files and not in the workdir, which may come from somebody else.
"""

import hashlib
import os
import sys
from pathlib import Path

import jax

IN_BUCKET = ".compiled"


def keep(bucket: str = "") -> None:
    """Keeps compiled programs between runs, unless JAX has been told a place by the user.

    Args:
        bucket: URL of the workdir, if it is in a bucket: machines there come and go, and the bucket
            is all that they have in common. Empty for a workdir on a disk.
    """
    if jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
        return
    if bucket:
        place = f"{bucket.rstrip('/')}/{IN_BUCKET}/{_cpu()}"
    else:
        folder = _user_cache() / _cpu()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            print(
                f"warning: compiled programs are not kept, since {folder} cannot be written "
                f"({error.strerror}); set JAX_COMPILATION_CACHE_DIR to a folder of yours",
                file=sys.stderr,
            )
            return
        place = str(folder)
    jax.config.update("jax_compilation_cache_dir", place)


def _user_cache() -> Path:
    """The folder that the system has for such files of a user."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "datafree_nas" / "compiled"


def _cpu() -> str:
    """Tells kinds of CPUs apart: JAX does not, and a program for another kind may not run."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = [" ".join(os.uname()) if hasattr(os, "uname") else sys.platform]
    features = next((line for line in lines if line.startswith(("flags", "Features"))), lines[0])
    return hashlib.sha256(features.encode()).hexdigest()[:8]
