"""Inspects and kills the processes of a sandbox, from the first of them."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress

_PAGE = resource.getpagesize()
_TICK_S = 0.015
_SLACK = 32 * 2**20
_KERNEL_SIDE = 2**16
"""Approximate kernel memory of a process, in bytes."""


def set_process_limit(pid: int, processes: int) -> None:
    """Set the limit of a process on the number of its user's processes and threads."""
    with suppress(ProcessLookupError):
        hard = resource.prlimit(pid, resource.RLIMIT_NPROC)[1]
        resource.prlimit(pid, resource.RLIMIT_NPROC, (min(processes, hard), hard))


def threads(pid: int) -> int:
    """Number of threads of a process; 0 if it does not exist."""
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return 0


def fork_bytes(pid: int) -> int:
    """Memory of a forked copy before it writes: page tables and kernel memory, in bytes."""
    return _statm(pid)[0] * _PAGE // 512 + _KERNEL_SIDE


def reap() -> None:
    """Reap ended processes that have no other parent."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def kill_others(known: Collection[int], seconds: float) -> bool:
    """Kill all processes but these; must run in the first process of a namespace.

    Args:
        known: processes to keep.
        seconds: time limit.

    Returns:
        Whether all were killed; False if they fork faster than they are killed.
    """
    killed: set[int] = set()
    deadline = time.monotonic() + seconds
    stopped = done = False
    while not done and time.monotonic() < deadline:
        # A process that was sent SIGKILL runs no code and creates no children any more.
        others = [pid for pid in _all() if pid not in known and pid not in killed]
        done = not others
        if killed and others and not stopped:  # they keep forking: stop all first
            stopped = True
            os.kill(-1, signal.SIGSTOP)
        _signal(others, signal.SIGKILL)
        killed.update(others)
    if stopped:
        _signal(known, signal.SIGCONT)
    return done


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def memory_watcher(memory_mb: int, known: Collection[int]) -> Callable[[], str]:
    """A function that returns "memory" once all processes but `known` exceed the limit, else "".

    Args:
        memory_mb: limit for all of them together, in MiB.
        known: processes that do not count.
    """
    most = memory_mb * 2**20 + _SLACK
    due = time.monotonic() + _TICK_S

    def watch() -> str:
        nonlocal due
        now = time.monotonic()
        if now < due:
            return ""
        due = now + _TICK_S
        others = [pid for pid in _all() if pid not in known]
        rough = sum(resident - shared for resident, shared in map(_statm, others)) * _PAGE
        return "memory" if rough > most and sum(map(_share, others)) > most else ""

    return watch


def _all() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _statm(pid: int) -> tuple[int, int]:
    """(resident pages, resident pages of files) of a process."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            _, resident, shared, *_ = file.read().split()
        return int(resident), int(shared)
    except (OSError, ValueError):
        return 0, 0


def _share(pid: int) -> int:
    """Proportional set size of a process, in bytes."""
    with suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
