"""Opening files that others may have made or placed: the only place that opens a file to write it.

A folder from somebody else may hold a link, a pipe or a device under a name that this package
reads or writes. Nothing here follows a link that it writes or locks through, waits for a pipe, or
reads more than a given size.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from errno import EDQUOT, EEXIST, EFBIG, EINVAL, ELOOP, ENOSPC, EROFS
from pathlib import Path
from typing import IO, Any, NoReturn

MOST_BYTES = 64 * 2**20
"""Largest file that is read in one piece, unless its reader says otherwise."""

NOT_WRITTEN = (ENOSPC, EDQUOT, EFBIG, EROFS)
"""Numbers of the errors of a disk that takes no more."""

DATABASE = b"SQLite format 3\0"
"""How the file of a run folder begins."""

_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
_NEW = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def open_regular(path: str | os.PathLike[str], most_bytes: int | None = None) -> IO[bytes]:
    """Open a regular file to read it; a link to one is followed.

    Args:
        path: of the file.
        most_bytes: largest size; None for any.

    Raises:
        OSError: if there is none, it is a folder, pipe, socket or device, or it is larger.
    """
    handle = os.open(path, _READ)
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(EINVAL, "not a regular file", os.fspath(path))
        if most_bytes is not None and found.st_size > most_bytes:
            raise OSError(
                EFBIG,
                f"too large: {found.st_size:,} bytes, at most {most_bytes:,} are read",
                os.fspath(path),
            )
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_bytes(path: str | os.PathLike[str], most_bytes: int = MOST_BYTES) -> bytes:
    """The content of a regular file.

    Raises:
        OSError: see `open_regular`; also if the file grows past the size while it is read.
    """
    with open_regular(path, most_bytes) as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise OSError(EFBIG, f"too large: at most {most_bytes:,} bytes are read", os.fspath(path))
    return data


def read_text(path: str | os.PathLike[str], most_bytes: int = MOST_BYTES) -> str:
    """The UTF-8 content of a regular file.

    Raises:
        OSError: see `open_regular`.
        UnicodeDecodeError: if it is not UTF-8.
    """
    return read_bytes(path, most_bytes).decode("utf-8")


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: if it is malformed, nested too deeply, or holds NaN, an infinity, a number that
            no float reaches, or an integer of thousands of digits.
    """
    try:
        return json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_json(path: str | os.PathLike[str], most_bytes: int = MOST_BYTES) -> Any:
    """The JSON value in a regular file.

    Raises:
        OSError: see `open_regular`.
        ValueError: see `parse_json`.
    """
    return parse_json(read_text(path, most_bytes))


def without_surrogates(value: Any) -> Any:
    r"""A JSON value with lone surrogates, which many readers of JSON refuse, written as escapes.

    Example:
        >>> without_surrogates({"a": ["b\ud83d"]})
        {'a': ['b\\ud83d']}
    """
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, Mapping):
        return {without_surrogates(name): without_surrogates(one) for name, one in value.items()}
    return [without_surrogates(one) for one in value] if isinstance(value, list | tuple) else value


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a new file in a block, which then takes the place of `path` in one step.

    The block gets the path of an empty file under an unpredictable name. A link at
    `path` is replaced, not followed. If the block raises, `path` stays as it was.

    Raises:
        OSError: if the file cannot be made or moved into place, or `path` may not be replaced.
    """
    target = Path(path)
    check_replaceable(target)
    partial = target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}.part")
    os.close(os.open(partial, _NEW | os.O_WRONLY, 0o666))
    try:
        yield partial
        partial.replace(target)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


def check_replaceable(path: Path) -> None:
    """Check that a new file may take a path: nothing is there, a regular file, or a link.

    Raises:
        OSError: for a folder, pipe, socket or device, and for a database: a report that is written
            over the file of a run would destroy the run.
    """
    with suppress(FileNotFoundError):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise OSError(EINVAL, "not a regular file", str(path))
        if path.is_symlink():
            return  # the link is replaced, not what it leads to
        with suppress(PermissionError), open_regular(path) as file:
            if file.read(len(DATABASE)) == DATABASE:
                raise OSError(EEXIST, "holds a run, which is not overwritten", str(path))


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a UTF-8 file in one step, see `replacing`.

    Raises:
        OSError: if it cannot be written.
    """
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def is_device(path: Path) -> bool:
    """Whether a path that the user named leads to a device or pipe, such as /dev/stdout."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)


def open_to_append(path: str | os.PathLike[str]) -> IO[str]:
    """Open a UTF-8 file, made if absent, to write at its end; a link is not followed.

    Raises:
        OSError: if it is a link or no regular file.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    return os.fdopen(_own(os.open(path, flags, 0o666), path), "a", encoding="utf-8")


def open_lock(path: str | os.PathLike[str]) -> int:
    """Open a lock file to read and write it, made if absent; nothing is locked or changed yet.

    Raises:
        OSError: if it is a link, has another name elsewhere, or is not a regular file.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    return _own(os.open(path, flags, 0o600), path)


def take_lock(handle: int) -> str | None:
    """Lock an open lock file for this process and note its number in it.

    Returns:
        None, or the number of the process that holds it ("unknown" if it does not say).

    Raises:
        OSError: if the file system cannot lock files.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if not isinstance(error, BlockingIOError | PermissionError):
            raise
        said = os.pread(handle, 20, 0).strip()
        return said.decode() if said.isdigit() else "unknown"
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    return None


def check_own_file(path: Path) -> None:
    """Check that a name is free or a regular file with no other name, before others open it.

    Raises:
        OSError: if it is a link, has another name elsewhere, or is not a regular file.
    """
    with suppress(FileNotFoundError):
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            raise OSError(ELOOP, "is a link", str(path))
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise OSError(EINVAL, "not a regular file of its own", str(path))


def _own(handle: int, path: str | os.PathLike[str]) -> int:
    """The open file, if it is a regular one that has no other name; else it is closed."""
    found = os.fstat(handle)
    if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
        return handle
    os.close(handle)
    raise OSError(EINVAL, "not a regular file of its own", os.fspath(path))


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:40]} is too large")
    return number


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
