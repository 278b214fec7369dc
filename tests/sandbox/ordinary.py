"""Runs Python as an ordinary user, also where the tests run as root.

python ordinary.py SCRIPT ARGUMENTS... An interpreter in a folder that only root may enter is shown
to the other user in a mount namespace of this process.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from leafe_gym.sandbox.embedded.inside import syscalls

USER = 20001


def become(user: int = USER) -> None:
    """Drop root's privileges for good; does nothing for other users."""
    if os.geteuid() != 0:
        return
    syscalls.unshare(syscalls.NEWNS, "mount namespace")
    syscalls.mount("", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
    for path in {Path(sys.base_prefix), Path(sys.base_exec_prefix)}:
        _show(path.resolve())
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def _show(path: Path) -> None:
    closed = [one for one in reversed(path.parents) if not os.stat(one).st_mode & 0o001]
    if closed:
        tree = syscalls.open_tree(str(path))
        syscalls.mount("tmpfs", str(closed[0]), "tmpfs", 0, "mode=755")
        path.mkdir(parents=True)
        syscalls.move_mount(tree, str(path), 0)


if __name__ == "__main__":
    become()
    os.environ["HOME"] = tempfile.gettempdir()
    os.chdir("/")
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
