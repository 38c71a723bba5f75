"""Files that are whole or absent, whenever the process dies."""

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

MEND = "What was finished is kept; mend that and run the same command again"


def as_path(place: str | Path) -> Path:
    """The path that a user wrote; `~` is the home directory."""
    return Path(os.path.expanduser(place))


def check_space(path: Path, size: int) -> None:
    """Raises `UserError` if the disk of `path` has less room than `size` bytes and a tenth more.

    Or if files may not become so large; libraries that meet either in the middle say it in
    tracebacks.
    """
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if limit != resource.RLIM_INFINITY and limit < 1.1 * size:
        raise UserError(
            f"cannot write {path}: a file may have {limit / 1e6:.1f} MB (ulimit -f), "
            f"{1.1 * size / 1e6:.1f} MB are needed. {MEND}"
        )
    place = next(each for each in (path, *path.parents) if each.exists())
    free = shutil.disk_usage(place).free
    if free < 1.1 * size:
        raise UserError(
            f"cannot write {path}: {free / 1e6:.1f} MB are free, {1.1 * size / 1e6:.1f} MB are "
            f"needed. {MEND}"
        )


# in the words of the system, which libraries pass on inside of their own
_FAILURES = [
    os.strerror(number)
    for number in (
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        *(errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),
    )
]


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Inside, libraries write to `path`; each has its own exception for a disk that is full.

    Raises:
        UserError: the file system does not let them.
    """
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        reasons = [reason for reason in _FAILURES if reason in str(error)]
        if "RESOURCE_EXHAUSTED" in str(error):  # TensorStore leaves the reason out at times
            reasons.append(os.strerror(errno.ENOSPC))
        if not reasons:
            raise
        raise UserError(f"cannot write {path}: {reasons[0]}. {MEND}") from error


def replacing(path: Path) -> Path:
    """The temporary name beside `path` under which its new content is written; see `publish`."""
    return path.with_name(f".{path.name}.partial")


def publish(partial: Path, path: Path) -> None:
    """Gives a whole file its name, once it is on the disk: after a power failure, too."""
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
        UserError: the file is missing, cannot be read or is no JSON.
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
    """Writes one JSON object a line, the whole file or nothing."""
    write_bytes(path, "".join(json.dumps(row) + "\n" for row in rows).encode())


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a JSON-lines file, none if there is no file; a torn last line is left.

    Raises:
        UserError: a line is no JSON object.
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
        UserError: the system does not let us.
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
    """Tells files and folders from others by what they hold, wherever they lie.

    Args:
        paths: files, of which the content counts; and folders, of which the relative names and the
            sizes of all visible files count, since a data set may be too large to be read twice.

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


def _sizes(folder: Path) -> Iterator[tuple[str, int]]:
    """The relative name and the size of every visible file below a folder, links followed."""
    for directory, inner, names in os.walk(folder, followlinks=True):
        above = os.path.realpath(directory)
        inner[:] = [
            name
            for name in inner
            if not name.startswith(".")
            and not above.startswith(os.path.realpath(os.path.join(directory, name)))  # a circle
        ]
        for name in names:
            path = os.path.join(directory, name)
            if not name.startswith(".") and os.path.isfile(path):
                yield os.path.relpath(path, folder), os.path.getsize(path)
