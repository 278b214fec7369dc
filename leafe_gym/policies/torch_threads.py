"""How many threads PyTorch computes with on a CPU.

PyTorch takes one thread for each core and its threads wait for each other at every operation. Where
other programs use the cores too, two threads on two cores were 4 to 8 times slower than one.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import torch

SET_BY_USER = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def limit_threads(threads: int | None = None) -> int:
    """Set PyTorch's number of threads for this process, and return it.

    Without a number: one for each core this process may use, less one for environments and less
    those that are busy now, at least one. What the user chose, through OMP_NUM_THREADS,
    MKL_NUM_THREADS or `torch.set_num_threads`, stays.

    Args:
        threads: the number; None to choose.
    """
    current = torch.get_num_threads()
    if threads is None:
        chosen = any(os.environ.get(name) for name in SET_BY_USER)
        if chosen or current not in _defaults():
            return current
        threads = min(current, max(1, math.floor(cores() - 1 - os.getloadavg()[0] + 0.5)))
    if threads != current:
        torch.set_num_threads(threads)
    return threads


def cores() -> int:
    """Cores that this process may use: its affinity, and the quota of its container."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text().split()
        return max(1, min(own, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or "max"
        return own


def _defaults() -> set[int]:
    """The numbers that PyTorch may have chosen by itself: cores, or half as many with SMT."""
    counts = {os.cpu_count() or 1}
    if hasattr(os, "sched_getaffinity"):
        counts.add(len(os.sched_getaffinity(0)))
    return counts | {max(1, count // 2) for count in counts}
