"""Runs Python as an ordinary user, also where the tests run as root.

python ordinary.py SCRIPT ARGUMENTS... An interpreter, a virtual environment and a clone of the
project below folders that only root may enter are shown to the other user, in a mount namespace of
this process.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import leafe_gym
from leafe_gym.sandbox.embedded.inside import syscalls

USER = 20001


def become(user: int = USER) -> None:
    """Drop root's privileges for good; does nothing for other users."""
    if os.geteuid() != 0:
        return
    syscalls.unshare(syscalls.NEWNS, "mount namespace")
    syscalls.mount("", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
    _show(_closed_to_others())
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def _closed_to_others() -> dict[Path, Path]:
    """Folders that Python reads, each with its outermost parent that others cannot enter."""
    wanted = [sys.prefix, sys.base_prefix, sys.base_exec_prefix, *sys.path, *leafe_gym.__path__]
    found: dict[Path, Path] = {}
    for path in sorted({Path(one).resolve() for one in wanted if Path(one).is_dir()}):
        closed = [one for one in reversed(path.parents) if not one.stat().st_mode & 0o001]
        if closed and not found.keys() & set(path.parents):  # a folder brings those below it
            found[path] = closed[0]
    return found


def _show(found: dict[Path, Path]) -> None:
    os.umask(0o022)
    trees = {path: syscalls.open_tree(str(path)) for path in found}  # before one hides another
    for closed in set(found.values()):
        syscalls.mount("tmpfs", str(closed), "tmpfs", 0, "mode=755")
    for path, tree in trees.items():
        path.mkdir(parents=True)
        syscalls.move_mount(tree, str(path), 0)


if __name__ == "__main__":
    become()
    os.environ["HOME"] = tempfile.gettempdir()
    for key in [key for key in os.environ if key.startswith("COVERAGE_")]:
        del os.environ[key]  # this user cannot write where the tests measure
    os.chdir("/")
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
