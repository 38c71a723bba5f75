"""Files that are either whole or absent, whenever the process dies."""

import contextlib
import errno
import hashlib
import json
import os
import resource
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from datafree_nas.runtime import mirror
from datafree_nas.runtime.errors import UserError

_ADVICE = "What was finished is kept; fix this and run the same command again"


def as_path(place: str | Path) -> Path:
    """Returns the path that a user wrote; `~` is the home directory."""
    return Path(os.path.expanduser(place))


def check_space(path: Path, size: int) -> None:
    """Raises `UserError` if the disk of `path` has less room than `size` bytes and a tenth more.

    Also raises it if a file may not become so large. Libraries that reach either limit while they
    write end in a traceback.
    """
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if limit != resource.RLIM_INFINITY and limit < 1.1 * size:
        raise UserError(
            f"cannot write {path}: a file may have {limit / 1e6:.1f} MB (ulimit -f), "
            f"{1.1 * size / 1e6:.1f} MB are needed. {_ADVICE}"
        )
    place = next(each for each in (path, *path.parents) if each.exists())
    free = shutil.disk_usage(place).free
    if free < 1.1 * size:
        raise UserError(
            f"cannot write {path}: {free / 1e6:.1f} MB are free, {1.1 * size / 1e6:.1f} MB are "
            f"needed. {_ADVICE}"
        )


# messages of the system, which libraries quote in their own
_FAILURES = [
    os.strerror(number)
    for number in (
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        *(errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),
    )
]


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises `UserError` if libraries in this block fail to write to `path`.

    Each library has its own exception for a full disk.

    Raises:
        UserError: the file system does not let them write.
    """
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        reasons = [reason for reason in _FAILURES if reason in str(error)]
        if "RESOURCE_EXHAUSTED" in str(error):  # TensorStore sometimes leaves the reason out
            reasons.append(os.strerror(errno.ENOSPC))
        if not reasons:
            raise
        raise UserError(f"cannot write {path}: {reasons[0]}. {_ADVICE}") from error


def replacing(path: Path) -> Path:
    """Returns the temporary path beside `path` for its new content; see `publish`."""
    return path.with_name(f".{path.name}.partial")


def publish(partial: Path, path: Path) -> None:
    """Gives a whole file its final name, once it is on the disk and survives a power failure."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)
    mirror.push(path)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes under a temporary name beside `path`, then renames."""
    with writing(path):
        partial = replacing(path)
        partial.write_bytes(content)
        publish(partial, path)


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, whole or not at all."""
    write_bytes(path, (json.dumps(value, indent=2) + "\n").encode())


def read_json(path: Path) -> Any:
    """Reads JSON.

    Raises:
        UserError: the file is missing, cannot be read, or is not JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON: {error}") from None


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Writes one JSON object per line, the whole file or nothing."""
    write_bytes(path, "".join(json.dumps(row) + "\n" for row in rows).encode())


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Reads the whole lines of a JSON-lines file, none if there is no file.

    A last line that is not whole, because the process died while writing it, is left out.

    Raises:
        UserError: a line is not a JSON object.
    """
    if not path.exists():
        return []
    whole = path.read_text().rpartition("\n")[0]
    rows = []
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            rows.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}, line {number}, is not valid JSON: {error}") from None
        if not isinstance(rows[-1], dict):
            raise UserError(f"{path}, line {number}, is not a JSON object")
    return rows


def make_directory(path: Path) -> Path:
    """Creates a directory with its parents.

    Raises:
        UserError: the directory cannot be created, or no file can be written there.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".write-probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"cannot write to {path}: {error.strerror}; choose another place") from None
    return path


def fingerprint(*paths: Path) -> str:
    """Computes a checksum of files and folders that depends on what they hold, not on their place.

    Args:
        paths: files, whose content counts; and folders, of which the relative names and the sizes
            of all files that are not hidden count, since a data set may be too large to be read
            twice.

    Returns:
        A checksum in hexadecimal digits, with the name of its algorithm.
    """
    total = hashlib.sha256()
    for path in paths:
        if path.is_dir():
            for name, size in sorted(_sizes(path)):
                total.update(f"{name}\0{size}\0".encode(errors="surrogateescape"))
        else:
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
    return f"sha256 {total.hexdigest()[:16]}"


def size(path: Path) -> int:
    """Returns the number of bytes of a file, or of all files in a folder that are not hidden."""
    return sum(count for _, count in _sizes(path)) if path.is_dir() else path.stat().st_size


def _sizes(folder: Path) -> Iterator[tuple[str, int]]:
    """Yields relative name and size of each file in a folder; follows links, skips hidden files."""
    for directory, inner, names in os.walk(folder, followlinks=True):
        above = os.path.realpath(directory)
        inner[:] = [
            name
            for name in inner
            if not name.startswith(".")
            and not above.startswith(os.path.realpath(os.path.join(directory, name)))  # a loop
        ]
        for name in names:
            path = os.path.join(directory, name)
            if not name.startswith(".") and os.path.isfile(path):
                yield os.path.relpath(path, folder), os.path.getsize(path)
