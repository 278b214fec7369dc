"""Objects that hold a process, socket or file of their own work only in the process that made them.

After `os.fork` the child has copies of all file descriptors: two processes that talk through one
connection get each other's answers. Such an object keeps a `ProcessGuard` and asks it first.
"""

from __future__ import annotations

import os

from leafe_gym.errors import ForkedUse


class ProcessGuard:
    """Remembers the process in which it was made.

    Args:
        what: the resource in words, for the message: "a sandbox session".
        remedy: what to do instead, in one sentence.
    """

    __slots__ = ("_pid", "_remedy", "_what")

    def __init__(self, what: str, remedy: str = "make a new one in this process") -> None:
        self._what = what
        self._remedy = remedy
        self._pid = os.getpid()

    @property
    def foreign(self) -> bool:
        """Whether this is another process than the one that made the object."""
        return os.getpid() != self._pid

    def check(self) -> None:
        """Do nothing in the process that made the object.

        Raises:
            ForkedUse: in any other process.
        """
        if self.foreign:
            raise ForkedUse(
                f"{self._what} was made in process {self._pid} and is used after a fork in "
                f"process {os.getpid()}: both would share one connection. Instead, {self._remedy}"
            )
