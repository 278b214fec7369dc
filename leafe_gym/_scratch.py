"""Folders for temporary files that do not outlive their process for long.

A folder is removed when it is no longer needed. Where the process was killed before that, the next
one that makes such a folder removes it: each is locked as long as its process lives.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "leafe-"
_SUFFIX = ".scratch"
_FRESH_SECONDS = 60.0
"""A folder younger than this may not be locked yet."""

_swept: set[str] = set()


@contextmanager
def scratch_folder(kind: str) -> Iterator[Path]:
    """An empty folder below the one for temporary files; removed at the end.

    Args:
        kind: part of its name, such as "verify".

    Raises:
        OSError: if no such folder can be made.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{kind}-", suffix=_SUFFIX))
    lock = _locked(folder)
    try:
        if str(folder.parent) not in _swept:
            _swept.add(str(folder.parent))
            remove_stale(folder.parent)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def remove_stale(parent: Path) -> list[Path]:
    """Remove the folders of processes that were killed; returns those removed."""
    removed = []
    for folder in parent.glob(f"{_PREFIX}*{_SUFFIX}"):
        with suppress(OSError):
            found = folder.lstat()
            old = time.time() - found.st_mtime > _FRESH_SECONDS
            if not old or found.st_uid != os.getuid() or folder.is_symlink():
                continue
            lock = _locked(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)
                removed.append(folder)
    return removed


def _locked(folder: Path) -> int | None:
    """A descriptor that holds the lock of a folder; None if another process has it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle
