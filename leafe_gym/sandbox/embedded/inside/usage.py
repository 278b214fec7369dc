"""Memory and processor time of all processes of a program or cell together.

Memory is what the processes occupy, each page divided among those that share it (proportional set
size), and what the kernel keeps for them: buffers of pipes and sockets count with their largest
size; mappings, file locks and entries of epoll objects are counted in one process at each
measurement. Memory that no
process shows, such as shared memory without a file, is refused by the filter of system calls.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection

from leafe_gym.sandbox.embedded.inside.processes import all_processes, resident_bytes

_TICK_S = 0.015
SLACK = 32 * 2**20
"""Memory above the limit before a program or cell is killed, in bytes."""

_FEW_FILES = 128
"""Open files, in all processes together, whose buffers are not counted."""

_BUFFERS = {"pipe": 2**16, "socket": 416 * 2**10}
_OTHER = 2**16
_OBJECT_BYTES = 256
"""Kernel memory of a mapping, a file lock or an entry of an epoll object, in bytes."""

_FEW_PAGES = 2**14
"""Address space, in pages, below which mappings are not counted: there cannot be more of them."""

_FEW_SOCKETS = 256
"""Unix sockets of a network namespace whose buffers are not counted, sent descriptors included."""
_CLOCK_S = 1 / os.sysconf("SC_CLK_TCK")


class UsageWatcher:
    """Measures all processes of the sandbox except some.

    Args:
        memory_mb: limit for all of them together, in MiB.
        known: processes that do not count.
        cpu_s: limit of processor seconds for all of them together; None for no limit.

    Attributes:
        cpu_s: processor seconds seen so far, ended processes included.
    """

    def __init__(self, memory_mb: int, known: Collection[int], cpu_s: float | None = None) -> None:
        self.cpu_s = 0.0
        self._most = memory_mb * 2**20 + SLACK
        self._known = known
        self._cpu_limit = cpu_s
        self._used: dict[tuple[int, bytes], float] = {}
        self._objects: dict[int, int] = {}
        self._turn = 0
        self._due = time.monotonic() + _TICK_S

    def exceeded(self) -> str:
        """The limit that is exceeded, "memory" or "time", or ""; measures every 15 ms."""
        now = time.monotonic()
        if now < self._due:
            return ""
        self._due = now + _TICK_S
        others = [pid for pid in all_processes() if pid not in self._known]
        if self._over_memory(others):
            return "memory"
        if self._cpu_limit is None:
            return ""
        self._count_cpu(others)
        return "time" if self.cpu_s > self._cpu_limit else ""

    def _over_memory(self, pids: list[int]) -> bool:
        buffers = buffer_bytes(pids) + self._kernel_bytes(pids)
        if sum(map(resident_bytes, pids)) + buffers <= self._most:
            return False
        return sum(map(share_of, pids)) + buffers > self._most

    def _kernel_bytes(self, pids: list[int]) -> int:
        """Memory of kernel objects, as far as counted; counts those of one more process."""
        if not pids:
            return 0
        self._turn += 1
        pid = pids[self._turn % len(pids)]
        self._objects[pid] = object_bytes(pid)
        sockets = unix_sockets(pid) - 2 * len(self._known) - _FEW_SOCKETS
        return sum(self._objects.get(one, 0) for one in pids) + max(0, sockets) * _BUFFERS["socket"]

    def _count_cpu(self, pids: list[int]) -> None:
        for pid in pids:
            try:
                with open(f"/proc/{pid}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
                self._used[pid, fields[19]] = (int(fields[11]) + int(fields[12])) * _CLOCK_S
            except (OSError, ValueError, IndexError):
                continue
        self.cpu_s = sum(self._used.values())


def share_of(pid: int) -> int:
    """Proportional set size of a process in bytes; its resident memory if it hides its map."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except ProcessLookupError:
        return 0
    except (OSError, ValueError):
        pass
    return resident_bytes(pid)


def buffer_bytes(pids: list[int]) -> int:
    """Largest size of the buffers of all pipes and sockets that these processes hold, in bytes."""
    counts = {pid: open_files(pid) for pid in pids}
    if sum(counts.values()) <= _FEW_FILES:
        return 0
    total = 0
    seen: set[str] = set()
    for pid, count in counts.items():
        try:
            with os.scandir(f"/proc/{pid}/fd") as entries:
                targets = [os.readlink(entry.path) for entry in entries]
        except PermissionError:
            total += count * _BUFFERS["socket"]
        except OSError:
            continue
        else:
            seen.update(one for one in targets if ":" in one and not one.startswith("/"))
    return total + sum(_BUFFERS.get(one.partition(":")[0], _OTHER) for one in seen)


def open_files(pid: int) -> int:
    """Number of a process's descriptors; before Linux 6.2 they are listed to be counted."""
    folder = f"/proc/{pid}/fd"
    try:
        return os.stat(folder).st_size or len(os.listdir(folder))
    except OSError:
        return 0


def object_bytes(pid: int) -> int:
    """Kernel memory of a process's mappings, file locks and epoll objects, in bytes."""
    count = 0
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            pages = int(file.read().split()[0])
        if pages > _FEW_PAGES:
            count += _occurrences(f"/proc/{pid}/maps", b"\n")
        for name in os.listdir(f"/proc/{pid}/fdinfo"):
            count += _occurrences(f"/proc/{pid}/fdinfo/{name}", b"\nlock:", b"\ntfd:")
    except (OSError, ValueError, IndexError):
        pass
    return count * _OBJECT_BYTES


def unix_sockets(pid: int) -> int:
    """Unix sockets in the process's network namespace, also those in no process's hands."""
    try:
        return _occurrences(f"/proc/{pid}/net/unix", b"\n")
    except OSError:
        return 0


def _occurrences(path: str, *what: bytes) -> int:
    with open(path, "rb", buffering=0) as file:
        parts = iter(lambda: file.read(2**18), b"")
        return sum(part.count(one) for part in parts for one in what)
