"""A memory cgroup for the programs of a sandbox, where this process may create one.

The kernel then bounds all memory of a program at any time, between two measurements too, and counts
its kernel memory, such as page tables and buffers. Version 2 needs a delegated cgroup that gives
its children the memory controller; version 1 needs root.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PREFIX = "leafe-"
_CGROUP = Path("/proc/self/cgroup")
_MOUNT = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class _Version:
    """Names of a version's files.

    Attributes:
        limit: memory limit in bytes.
        usage: memory in use, in bytes.
        events: holds a line "oom_kill N".
        setup: files to write at the start, those that the kernel may lack last.
    """

    limit: str
    usage: str
    events: str
    setup: tuple[tuple[str, str], ...]


_V2 = _Version(
    "memory.max",
    "memory.current",
    "memory.events",
    (("memory.oom.group", "1"), ("memory.swap.max", "0")),
)
_V1 = _Version(
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    "memory.oom_control",
    (("memory.swappiness", "0"),),
)


class MemoryCgroup:
    """A cgroup in which the programs of one sandbox run.

    Attributes:
        fds: descriptors of its process list, its limit, its usage and its events; they can be
            inherited.
    """

    def __init__(self, folder: Path, version: _Version) -> None:
        self._folder = folder
        self._lock = -1
        self.fds: list[int] = []
        folder.mkdir()
        try:
            self._lock = _locked(folder)
            for name, text in version.setup:
                with suppress(FileNotFoundError), open(folder / name, "r+") as file:
                    file.write(text)
            for name, flags in (
                ("cgroup.procs", os.O_WRONLY),
                (version.limit, os.O_WRONLY),
                (version.usage, os.O_RDONLY),
                (version.events, os.O_RDONLY),
            ):
                self.fds.append(os.open(folder / name, flags | os.O_CLOEXEC))
        except OSError:
            self.close()
            raise

    def close_files(self) -> None:
        """Close the descriptors in this process."""
        for fd in self.fds:
            os.close(fd)
        self.fds.clear()

    def close(self) -> None:
        """Remove the cgroup; it has no processes any more."""
        self.close_files()
        with suppress(OSError):
            self._folder.rmdir()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def make_memory_cgroup() -> MemoryCgroup | None:
    """A new cgroup; None if this process may not create one."""
    for parent, version in _parents():
        try:
            _remove_unused(parent)
            return MemoryCgroup(parent / f"{_PREFIX}{uuid.uuid4().hex}", version)
        except OSError:
            continue
    return None


def _parents() -> Iterator[tuple[Path, _Version]]:
    """Cgroups whose children can have a memory limit: this process's own, and the one above it."""
    try:
        lines = _CGROUP.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        own = path.lstrip("/")
        if not controllers:
            folder = _MOUNT / own
            for one in (folder, folder.parent) if own else (folder,):
                with suppress(OSError):
                    if "memory" in (one / "cgroup.subtree_control").read_text().split():
                        yield one, _V2
        elif "memory" in controllers.split(","):
            yield _MOUNT / "memory" / own, _V1


def _locked(folder: Path) -> int:
    """Descriptor of a folder that is locked while its sandbox exists."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd


def _remove_unused(parent: Path) -> None:
    """Remove what sandboxes whose program was killed left behind."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            lock = _locked(folder)
            try:
                folder.rmdir()
            finally:
                os.close(lock)
