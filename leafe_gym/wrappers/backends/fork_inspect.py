"""Resources of this process that a fork shares or loses instead of copying them.

A fork copies memory. It does not copy threads, and both processes share sockets, pipes, writable
files and subprocesses. An environment with any of these cannot be forked into independent
branches; the error names the offending resource.
"""

from __future__ import annotations

import fcntl
import os
import stat
import threading
from collections.abc import Collection, Iterable
from pathlib import Path

_ME = Path("/proc/self")
_WRITES = os.O_WRONLY | os.O_RDWR


def trouble(own_files: Collection[int], own_children: Collection[int]) -> str | None:
    """Why this process cannot be forked, or None.

    Args:
        own_files: descriptors that are known and harmless.
        own_children: process ids that are known.
    """
    return _threads() or _files(own_files) or _children(own_children) or _shared_memory() or None


def open_files() -> set[int]:
    """Descriptors open in this process."""
    found = set()
    for name in os.listdir(_ME / "fd"):
        number = int(name)
        try:
            os.fstat(number)
        except OSError:
            continue  # the descriptor of the listing itself
        found.add(number)
    return found


def regular_files(own_files: Collection[int]) -> list[int]:
    """Descriptors of files on disk, without those known."""
    others = sorted(open_files() - set(own_files))
    return [number for number in others if stat.S_ISREG(os.fstat(number).st_mode)]


def separate_files(numbers: Iterable[int]) -> None:
    """After a fork: give read-only files a position of their own.

    A fork shares the position of an open file, so reading here would move it there.
    """
    for number in numbers:
        place = os.lseek(number, 0, os.SEEK_CUR)
        flags = fcntl.fcntl(number, fcntl.F_GETFL)
        inherits = os.get_inheritable(number)
        fresh = os.open(f"/proc/self/fd/{number}", flags)
        os.lseek(fresh, place, os.SEEK_SET)
        os.dup2(fresh, number, inheritable=inherits)
        os.close(fresh)


def _threads() -> str:
    ids = os.listdir(_ME / "task")
    if len(ids) <= 1:
        return ""
    names = {str(one.native_id): one.name for one in threading.enumerate()}
    main = str(os.getpid())
    others = [names.get(one) or _comm(one) for one in ids if one != main]
    return (
        f"it runs {len(others)} thread{'s' * (len(others) > 1)} ({', '.join(sorted(others)[:4])}), "
        "which a fork does not copy"
    )


def _comm(thread: str) -> str:
    try:
        return (_ME / "task" / thread / "comm").read_text().strip()
    except OSError:
        return "unnamed"


def _files(own: Collection[int]) -> str:
    for number in sorted(open_files() - set(own)):
        try:
            mode = os.fstat(number).st_mode
            target = os.readlink(f"/proc/self/fd/{number}")
            writes = fcntl.fcntl(number, fcntl.F_GETFL) & _WRITES
        except OSError:
            continue
        what = ""
        if stat.S_ISSOCK(mode):
            what = "a socket"
        elif stat.S_ISFIFO(mode):
            what = "a pipe"
        elif stat.S_ISREG(mode) and writes:
            what = f"the file {target} for writing"
        elif target.startswith("anon_inode:"):
            what = f"a kernel object ({target.removeprefix('anon_inode:')})"
        if what:
            return f"it holds {what} open (descriptor {number}), which all branches would share"
    return ""


def _children(own: Collection[int]) -> str:
    try:
        listed = (_ME / "task" / str(os.getpid()) / "children").read_text().split()
    except OSError:
        return ""
    for child in (int(one) for one in listed):
        if child in own:
            continue
        try:
            name = Path(f"/proc/{child}/comm").read_text().strip()
        except OSError:
            continue
        return f"it runs a subprocess ({name}, process {child}), which a fork does not copy"
    return ""


def _shared_memory() -> str:
    maps = (_ME / "maps").read_bytes()
    if b" rw-s " not in maps:
        return ""
    line = next(one for one in maps.decode(errors="replace").splitlines() if " rw-s " in one)
    parts = line.split(maxsplit=5)
    name = parts[5] if len(parts) > 5 else "anonymous"
    return f"it has writable shared memory ({name}), which all branches would share"
