"""Compiled programs are kept on disk, so that the next start need not compile them again.

They are machine code, and whoever can write to their folder could put other code there. So they are
kept with the user's files and not in a workdir on a disk, which may come from somebody else.
"""

import hashlib
import os
import sys
from pathlib import Path

import jax

IN_BUCKET = ".compiled"


def keep(bucket: str = "") -> None:
    """Keeps compiled programs between runs, unless the user has told JAX where to keep them.

    Args:
        bucket: URL of the workdir if it is in a bucket, where the programs are then kept, because
            such runs change machines and share nothing else. Empty for a workdir on a disk.
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
    """Returns the folder for compiled programs among the user's cached files."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "datafree_nas" / "compiled"


def _cpu() -> str:
    """Returns a checksum that differs between kinds of CPUs.

    JAX does not tell them apart, and a program compiled for another kind may not run.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = [" ".join(os.uname()) if hasattr(os, "uname") else sys.platform]
    features = next((line for line in lines if line.startswith(("flags", "Features"))), lines[0])
    return hashlib.sha256(features.encode()).hexdigest()[:8]
