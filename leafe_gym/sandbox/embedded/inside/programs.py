"""Programs beside the session, each with its own processes, /tmp and message queues.

The program's parent is the first process of a new process namespace, so all processes that the
program starts end with it, and cannot see or signal the session.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from leafe_gym.sandbox.embedded.inside import syscalls
from leafe_gym.sandbox.embedded.inside.jail import HOME, mount_proc
from leafe_gym.sandbox.embedded.inside.privileges import drop_privileges, set_limits

ENVIRON = {"HOME": f"{HOME}/work", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "TMPDIR": "/tmp",
           "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "USER": "box"}  # fmt: skip
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126


class ProgramContext(Protocol):
    """The environment in which a program runs.

    Attributes:
        path: search path for programs.
    """

    path: str

    def fork(self) -> int:
        """Fork the process that becomes the program's parent."""
        ...

    def enter(self, disk_mb: int) -> None:
        """Prepare the program's parent."""
        ...

    def drop(self) -> None:
        """Drop privileges, immediately before the program starts."""
        ...


class NamespacedContext:
    """New namespaces for each program.

    Args:
        path: search path for programs.
        pid_namespace: descriptor of the supervisor's own process namespace, to return to.
    """

    def __init__(self, path: str, pid_namespace: int) -> None:
        self.path = path
        self._pid_namespace = pid_namespace

    def fork(self) -> int:
        """See `ProgramContext.fork`."""
        syscalls.unshare(syscalls.NEWPID, "process namespace of a program")
        try:
            first = os.fork()
        except OSError:
            first = -1
        if first:
            syscalls.setns(self._pid_namespace, syscalls.NEWPID)
        if first < 0:
            raise syscalls.SyscallError("fork of a program", errno.EAGAIN)
        return first

    def enter(self, disk_mb: int) -> None:
        """See `ProgramContext.enter`."""
        syscalls.unshare(syscalls.NEWNS | syscalls.NEWIPC, "namespaces of a program")
        mount_proc("/jail/proc")
        flags = syscalls.MS_NOSUID | syscalls.MS_NODEV
        size = f"mode=1777,size={disk_mb}m,nr_inodes=16k"
        syscalls.mount("tmpfs", f"/jail{HOME}/tmp", "tmpfs", flags, size)
        os.chroot("/jail")

    def drop(self) -> None:
        """See `ProgramContext.drop`."""
        drop_privileges(["/home"])


@dataclass(slots=True)
class CappedOutput:
    """Output read from a pipe; what exceeds the limit is discarded."""

    fd: int
    most: int
    data: bytearray = field(default_factory=bytearray)
    more: bool = False
    ended: bool = False

    def take(self) -> bool:
        """Read what is available; returns whether there was anything."""
        try:
            part = os.read(self.fd, 2**16)
        except BlockingIOError:
            return False
        self.ended = not part
        left = self.most - len(self.data)
        self.data += part[:left]
        self.more = self.more or len(part) > left
        return bool(part)


def run_program(
    request: dict[str, Any],
    stdin: bytes,
    context: ProgramContext,
    reserved: int,
    watch: Callable[[], str],
) -> tuple[dict[str, Any], bytes, bytes]:
    """Run a program until it ends or is stopped.

    Args:
        request: argv and limits.
        stdin: standard input.
        context: its environment.
        reserved: number of the user's processes that are not the program's.
        watch: returns why the program must be stopped; "" while it may continue.

    Returns:
        How it ended, its standard output and its standard error.
    """
    began = time.monotonic()
    given = os.memfd_create("stdin")
    while stdin:
        stdin = stdin[os.write(given, stdin) :]
    os.lseek(given, 0, os.SEEK_SET)
    pipes = [os.pipe() for _ in range(3)]
    try:
        first = context.fork()
        if not first:
            _first(request, context, given, [write for _, write in pipes], reserved)
    finally:
        os.close(given)
    for _, write in pipes:
        os.close(write)
    out, err, report = (CappedOutput(read, request["output_bytes"]) for read, _ in pipes)
    report.most = 4096
    why = _collect([out, err, report], began + request["call_s"], watch)
    with suppress(ProcessLookupError):
        os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0)
    for one in (out, err, report):
        os.close(one.fd)
    ended: dict[str, Any] = {"code": -1, "signal": signal.SIGKILL, "cpu": 0.0}
    if report.data and not why:
        ended = json.loads(bytes(report.data))
    truncated = out.more or err.more
    ended.update(why="output" if truncated else why, seconds=time.monotonic() - began)
    return ended, bytes(out.data), bytes(err.data)


def _collect(outputs: list[CappedOutput], deadline: float, watch: Callable[[], str]) -> str:
    """Read until the program ends; returns why it was stopped, "" if it ended by itself."""
    out, err, report = outputs
    waiting = select.poll()
    for one in outputs:
        os.set_blocking(one.fd, False)
        waiting.register(one.fd, select.POLLIN)
    while not report.ended:
        left = deadline - time.monotonic()
        if left <= 0:
            return "time"
        ready = {fd for fd, _ in waiting.poll(min(left, 0.02) * 1000)}
        for one in outputs:
            if one.fd in ready:
                one.take()
                if one.ended:
                    waiting.unregister(one.fd)
        if out.more or err.more:
            return "output"
        if why := watch():
            return why
    for one in (out, err):
        while one.take() and not one.more:
            pass
    return ""


def _first(
    request: dict[str, Any], context: ProgramContext, given: int, writes: list[int], reserved: int
) -> None:
    """Run the program's parent process."""
    out, err, report = writes
    try:
        context.enter(request["disk_mb"])
        os.chdir(f"{HOME}/work")
        child = os.fork()
        if not child:
            _program(request, context, given, out, err, reserved)
        os.close(out)
        os.close(err)
        text = json.dumps(_ending(child))
    except OSError as error:
        text = json.dumps({"failed": f"{getattr(error, 'what', '')} {error}"})
    os.write(report, text.encode())
    os._exit(0)


def _ending(child: int) -> dict[str, Any]:
    while True:
        pid, status, usage = os.wait4(-1, 0)
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            cpu = usage.ru_utime + usage.ru_stime
            return {"code": max(code, -1), "signal": max(-code, 0), "cpu": cpu}


def _program(
    request: dict[str, Any], context: ProgramContext, given: int, out: int, err: int, reserved: int
) -> None:
    code = _NOT_EXECUTABLE
    try:
        for number, fd in enumerate((given, out, err)):
            os.dup2(fd, number)
        os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        os.setsid()
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        set_limits(
            request["memory_mb"],
            request["disk_mb"],
            request["processes"] + reserved,
            request["cpu_s"],
        )
        context.drop()
        os.execvpe(request["argv"][0], request["argv"], {**ENVIRON, "PATH": context.path})
    except FileNotFoundError:
        os.write(2, f"{request['argv'][0]}: not found\n".encode())
        code = _NOT_FOUND
    except (OSError, ValueError) as error:
        os.write(2, f"{request['argv'][0]}: {error}\n".encode())
    os._exit(code)
