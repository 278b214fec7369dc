"""The memory cgroup of a sandbox's programs, through descriptors that the host program opened."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress


class ProgramCgroup:
    """Bounds the memory of programs, if the host program could create a cgroup.

    Attributes:
        fds: descriptors of its process list, its limit, its usage and its events; empty if there
            is none.
    """

    def __init__(self, fds: Sequence[int]) -> None:
        self.fds = fds

    def limit(self, nbytes: int) -> None:
        """Allow so much memory beyond what is in use now: files outlive the program that wrote."""
        if self.fds:
            _, limit, usage, _ = self.fds
            most = int(os.pread(usage, 64, 0)) + nbytes
            os.pwrite(limit, b"%d" % most, 0)

    def join(self) -> None:
        """Move this process into the cgroup."""
        if self.fds:
            os.write(self.fds[0], b"0")

    def kills(self) -> int:
        """Number of processes that were killed so far as they exceeded the limit."""
        if self.fds:
            with suppress(OSError, ValueError):
                for line in os.pread(self.fds[3], 4096, 0).splitlines():
                    name, _, count = line.partition(b" ")
                    if name == b"oom_kill":
                        return int(count)
        return 0
