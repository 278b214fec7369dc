"""What a forked copy would share with the original or lose is set aside before a fork.

Open files are closed and opened again at the same position, so that the copies have offsets of
their own and the layers below can be exchanged. All signals wait, so that nothing runs while the
state is kept. Timers go on with the time that was left.
"""

from __future__ import annotations

import fcntl
import gc
import os
import signal
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from leafe_gym.sandbox.embedded.inside import syscalls

_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_STREAMS = (0, 1, 2)
_TRIES, _PAUSE_S = 200, 0.01
_ALL_SIGNALS = signal.valid_signals()
_OPENING = os.O_CREAT | os.O_EXCL | os.O_TRUNC


class CannotKeep(Exception):
    """Raised when the state cannot be saved; says why."""


@dataclass(frozen=True, slots=True)
class OpenFile:
    """An open file.

    Attributes:
        fds: its descriptors, which share one position, each with whether it is inheritable.
        path: where it is.
        flags: for opening it again.
        position: in bytes.
    """

    fds: tuple[tuple[int, bool], ...]
    path: str
    flags: int
    position: int


@dataclass(slots=True)
class KeptState:
    """State of this process that is set aside.

    Attributes:
        folder: the working folder.
        files: open files below any folder.
        stream_flags: status flags of the standard streams, by descriptor.
        timers: seconds left and interval of each timer.
        blocked: signals that were blocked before.
        handler: handler of SIGCHLD.
        adopts: orphaned descendants become children of this process.
    """

    folder: str
    files: list[OpenFile]
    stream_flags: dict[int, int]
    timers: list[tuple[float, float]]
    blocked: set[Any]
    handler: Any
    adopts: bool

    @classmethod
    def of_this_process(cls) -> KeptState:
        """The state now; changes nothing.

        Raises:
            CannotKeep: if something could not be taken up again; names it.
        """
        _collect_children()
        flags = {}
        for fd in _STREAMS:
            with suppress(OSError):
                flags[fd] = fcntl.fcntl(fd, fcntl.F_GETFL)
        return cls(
            _working_folder(),
            list(_open_files()),
            flags,
            [(0.0, 0.0)] * len(_TIMERS),
            signal.pthread_sigmask(signal.SIG_BLOCK, ()),
            signal.getsignal(signal.SIGCHLD),
            syscalls.adopts_orphans(),
        )

    def release(self) -> None:
        """Close files, leave the folder, stop timers and block signals."""
        signal.pthread_sigmask(signal.SIG_SETMASK, _ALL_SIGNALS)
        self.timers = [signal.setitimer(one, 0) for one in _TIMERS]
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps copies of this process
        os.chdir("/")
        for file in self.files:
            for fd, _ in file.fds:
                null = os.open(os.devnull, os.O_RDWR)
                os.dup2(null, fd)
                os.close(null)

    def resume(self) -> None:
        """Undo `release`, in this process or a forked copy.

        Raises:
            OSError: if a file cannot be opened again.
        """
        os.chdir(self.folder)
        for file in self.files:
            again = os.open(file.path, file.flags)
            if file.position:
                os.lseek(again, file.position, os.SEEK_SET)
            for fd, inherited in file.fds:
                os.dup2(again, fd, inheritable=inherited)
            os.close(again)
        for fd, flags in self.stream_flags.items():
            with suppress(OSError):
                fcntl.fcntl(fd, fcntl.F_SETFL, flags)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL if self.handler is None else self.handler)
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, self.adopts)
        for one, (left, interval) in zip(_TIMERS, self.timers, strict=True):
            if left:
                signal.setitimer(one, left, interval)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.blocked)


def _collect_children() -> None:
    """Let objects of `subprocess` and `multiprocessing` take the status of their ended children.

    A copy has no children, and Python takes the status of a child that is missing for 0.

    Raises:
        CannotKeep: if no such object waits for a child.
    """
    for _ in range(_TRIES):
        try:
            child = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if child is None:  # it was killed with its cell, and ends in a moment
            time.sleep(_PAUSE_S)
            continue
        for one in _process_objects():
            if one.pid == child.si_pid and one.returncode is None:
                one.poll()
                break
        else:
            raise CannotKeep(f"the child process {child.si_pid} has ended and was not waited for")
    raise CannotKeep("a child process still runs")


def _process_objects() -> list[Any]:
    modules = [sys.modules.get(name) for name in ("subprocess", "multiprocessing.popen_fork")]
    kinds = [one.Popen for one in modules if one is not None]
    return [one for one in gc.get_objects() if type(one) in kinds]


def _working_folder() -> str:
    try:
        folder = os.getcwd()
        before = os.stat(".")
        os.chdir(folder)
        if os.path.samestat(before, os.stat(".")):
            return folder
    except OSError:
        pass
    raise CannotKeep("the working folder was removed or cannot be entered again")


def _open_files() -> Iterator[OpenFile]:
    """Every open file that has a path.

    Raises:
        CannotKeep: if one cannot be opened again, as it was deleted or its mode forbids it.
    """
    found: list[tuple[OpenFile, os.stat_result]] = []
    for name in os.listdir("/proc/self/fd"):
        try:
            path = os.readlink(f"/proc/self/fd/{name}")
            status = os.fstat(int(name))
        except OSError:  # the folder that is being listed
            continue
        if not path.startswith("/") or stat.S_ISCHR(status.st_mode):
            continue
        fd = int(name)
        flags, position = _opening(fd)
        _check_again(path, flags, status)
        own = OpenFile(((fd, os.get_inheritable(fd)),), path, flags, position)
        for at, (other, known) in enumerate(found):
            if os.path.samestat(status, known) and _one_position(fd, other.fds[0][0]):
                joined = OpenFile((*other.fds, *own.fds), path, flags, position)
                found[at] = joined, known
                break
        else:
            found.append((own, status))
    yield from (file for file, _ in found)


def _opening(fd: int) -> tuple[int, int]:
    """(flags to open a file again, its position)."""
    with open(f"/proc/self/fdinfo/{fd}") as file:
        info = dict(line.split(":", 1) for line in file if ":" in line)
    return int(info["flags"], 8) & ~_OPENING, int(info["pos"])


def _check_again(path: str, flags: int, status: os.stat_result) -> None:
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise CannotKeep(f"{path} is open and no regular file")
    try:
        again = os.open(path, flags)
    except OSError as error:
        raise CannotKeep(f"the open file {path} cannot be opened again") from error
    same = os.path.samestat(os.fstat(again), status)
    os.close(again)
    if not same:
        raise CannotKeep(f"the open file {path} was replaced by another")


def _one_position(one: int, other: int) -> bool:
    """Whether two descriptors of a file are duplicates, which share their position and flags."""
    try:
        flags, before = fcntl.fcntl(one, fcntl.F_GETFL), fcntl.fcntl(other, fcntl.F_GETFL)
        fcntl.fcntl(one, fcntl.F_SETFL, flags ^ os.O_NONBLOCK)
        shared = fcntl.fcntl(other, fcntl.F_GETFL) != before
        fcntl.fcntl(one, fcntl.F_SETFL, flags)
    except OSError:  # descriptors of a path only, which have no position
        return False
    return shared
