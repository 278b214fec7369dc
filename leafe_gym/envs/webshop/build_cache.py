"""Cached folders: `$XDG_CACHE_HOME/leafe-gym/webshop/<key>`.

They can be deleted at any time. A folder is built in a temporary folder and moved into place. A
list of file fingerprints is written last; a folder that does not match its list is rebuilt.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from leafe_gym.errors import UsageError

_BLOCK, _BLOCKS = 64 * 1024, 64
_LIST = "whole.json"
_MAKING, _ABANDONED_S = ".making-", 24 * 3600


def cache_folder() -> Path:
    """The parent of all cached folders."""
    root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(root) / "leafe-gym" / "webshop"


def fingerprint(path: Path) -> str:
    """Size and hash of a file; above 4 MiB the hash of 64 blocks spread over it."""
    size = path.stat().st_size
    digest = blake2b(digest_size=8)
    starts = (
        range(0, size, _BLOCK)
        if size <= _BLOCK * _BLOCKS
        else [number * (size - _BLOCK) // (_BLOCKS - 1) for number in range(_BLOCKS)]
    )
    with path.open("rb") as file:
        for start in starts:
            file.seek(start)
            digest.update(file.read(_BLOCK))
    return f"{size}-{digest.hexdigest()}"


def cached_folder(key: str, make: Callable[[Path], None]) -> Path:
    """The folder with a key, built by `make` if it is missing or damaged.

    Raises:
        UsageError: if it cannot be written; `make` may raise others.
    """
    folder = cache_folder() / key
    if _complete(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder.parent)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=_MAKING) as making:
            new = Path(making) / key
            new.mkdir()
            make(new)
            files = {path.name: fingerprint(path) for path in sorted(new.iterdir())}
            (new / _LIST).write_text(json.dumps(files), "utf-8")
            _place(new, folder, Path(making) / "old")
    except (OSError, sqlite3.OperationalError) as error:  # both are raised for a full disk
        raise UsageError(
            f"the shop cannot be written to {folder.parent}: {error}; free some space, or set "
            "XDG_CACHE_HOME to another folder"
        ) from error
    return folder


def _sweep(root: Path) -> None:
    """Remove temporary folders of killed processes; each can take gigabytes."""
    for path in root.glob(f"{_MAKING}*"):
        with suppress(FileNotFoundError):  # its process has just finished
            if time.time() - path.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(path, ignore_errors=True)


def _place(new: Path, folder: Path, old: Path) -> None:
    """Move the new folder into place, unless another process has done so."""
    if folder.exists() and not _complete(folder):
        os.rename(folder, old)
    try:
        os.rename(new, folder)
    except OSError:
        if not _complete(folder):
            raise


def _complete(folder: Path) -> bool:
    try:
        files = json.loads((folder / _LIST).read_text("utf-8"))
        return all(fingerprint(folder / name) == print_ for name, print_ in files.items())
    except (OSError, ValueError, AttributeError):
        return False
