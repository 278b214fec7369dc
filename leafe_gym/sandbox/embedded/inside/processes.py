"""The processes of a sandbox, seen from the first of them."""

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
"""Roughly what a process takes in the kernel, in bytes."""


def set_process_limit(pid: int, processes: int) -> None:
    """Set how many processes and threads a process may bring its user id to."""
    with suppress(ProcessLookupError):
        hard = resource.prlimit(pid, resource.RLIMIT_NPROC)[1]
        resource.prlimit(pid, resource.RLIMIT_NPROC, (min(processes, hard), hard))


def threads(pid: int) -> int:
    """Threads of a process; 0 if it is gone."""
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return 0


def fork_bytes(pid: int) -> int:
    """What a copy of a process takes before it writes: page tables, and its kernel side."""
    return _statm(pid)[0] * _PAGE // 512 + _KERNEL_SIDE


def reap() -> None:
    """Bury those that ended and have no other parent."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def kill_others(known: Collection[int], seconds: float) -> bool:
    """Kill all processes but these; from the first process of a namespace.

    Returns:
        Whether that is done; not if they multiply faster than that.
    """
    killed: set[int] = set()
    deadline = time.monotonic() + seconds
    stopped = done = False
    while not done and time.monotonic() < deadline:
        # What was sent the signal runs no code and has no children any more.
        others = [pid for pid in _all() if pid not in known and pid not in killed]
        done = not others
        if killed and others and not stopped:  # they multiply: nobody does while all are stopped
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
    """What says "memory" as soon as all processes but `known` together take more than that."""
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
    """(pages in memory, those of them that are files) of a process."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            _, resident, shared, *_ = file.read().split()
        return int(resident), int(shared)
    except (OSError, ValueError):
        return 0, 0


def _share(pid: int) -> int:
    """Bytes in memory, those shared with others in parts."""
    with suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
