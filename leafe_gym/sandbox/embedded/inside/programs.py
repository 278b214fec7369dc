"""Programs beside the session, each with its own processes, /tmp, network and message queues.

The program's parent is the first process of a new process namespace, so all processes that the
program starts end with it, and cannot see or signal the session. A program that is given files has
a work folder of its own, which ends with it: nothing that it writes reaches another program.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import select
import signal
import stat
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

from leafe_gym.sandbox.embedded.inside import syscalls
from leafe_gym.sandbox.embedded.inside.jail import HOME, mount_proc
from leafe_gym.sandbox.embedded.inside.privileges import drop_privileges, set_limits
from leafe_gym.sandbox.embedded.inside.program_cgroup import ProgramCgroup
from leafe_gym.sandbox.embedded.inside.usage import SLACK, UsageWatcher

WORK = f"{HOME}/work"
MAX_ARTIFACT = 32 * 2**20
"""Largest artifact, in bytes."""

_MAX_REPORT = 4096
ENVIRON = {"HOME": WORK, "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "TMPDIR": "/tmp",
           "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "USER": "box"}  # fmt: skip
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126


class ProgramContext(Protocol):
    """The environment in which a program runs.

    Attributes:
        path: search path for programs.
        cgroup: of programs.
    """

    path: str
    cgroup: ProgramCgroup

    def fork(self) -> int:
        """Fork the process that becomes the program's parent."""
        ...

    def enter(self, disk_mb: int, own_folder: bool) -> None:
        """Prepare the program's parent.

        Args:
            disk_mb: size of each new folder, in MiB.
            own_folder: give the program an empty work folder of its own.
        """
        ...

    def end_rest(self) -> None:
        """Kill and reap all other processes of the program, after the program itself ended."""
        ...

    def drop(self) -> None:
        """Drop privileges, immediately before the program starts."""
        ...


class Template(Protocol):
    """A process that programs are forked from; see `template`."""

    def start(self, request: dict[str, Any], descriptors: Sequence[int], reserved: int) -> int:
        """Fork the program's parent; returns its process id."""
        ...

    def reap(self, pid: int) -> None:
        """Wait for the end of a program's parent, which was killed."""
        ...


class NamespacedContext:
    """New namespaces for each program.

    Args:
        path: search path for programs.
        pid_namespace: descriptor of the supervisor's own process namespace, to return to.
        cgroup: of programs.
    """

    def __init__(self, path: str, pid_namespace: int, cgroup: ProgramCgroup) -> None:
        self.path = path
        self.cgroup = cgroup
        self._pid_namespace = pid_namespace

    @property
    def descriptors(self) -> list[int]:
        """What it is made of: the process namespace, then the cgroup's."""
        return [self._pid_namespace, *self.cgroup.fds]

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

    def enter(self, disk_mb: int, own_folder: bool) -> None:
        """See `ProgramContext.enter`."""
        flags = syscalls.NEWNS | syscalls.NEWIPC | syscalls.NEWNET
        syscalls.unshare(flags, "namespaces of a program")
        mount_proc("/jail/proc", hidden=True)
        flags = syscalls.MS_NOSUID | syscalls.MS_NODEV
        size = f"size={disk_mb}m,nr_inodes=16k"
        syscalls.mount("tmpfs", f"/jail{HOME}/tmp", "tmpfs", flags, f"mode=1777,{size}")
        if own_folder:
            syscalls.mount("tmpfs", f"/jail{WORK}", "tmpfs", flags, f"mode=755,{size}")
        os.chroot("/jail")

    def end_rest(self) -> None:
        """See `ProgramContext.end_rest`."""
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        with suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)

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
    files: Mapping[str, bytes] | None,
    context: ProgramContext,
    known: Collection[int],
    template: Template | None = None,
) -> tuple[dict[str, Any], tuple[bytes, bytes, bytes]]:
    """Run a program until it ends or is stopped.

    Args:
        request: argv, limits, and the name of an artifact to return.
        stdin: standard input.
        files: content of a work folder of its own; None for the session's work folder.
        context: its environment.
        known: processes of this user that are not the program's.
        template: fork its process instead of starting `argv`, in a work folder without files.

    Returns:
        How it ended; its standard output, standard error and artifact.
    """
    began = time.monotonic()
    given = _standard_input(stdin)
    pipes = [os.pipe() for _ in range(3)]
    writes = [write for _, write in pipes]
    reserved = len(known) + 1
    killed = context.cgroup.kills()
    context.cgroup.limit(request["memory_mb"] * 2**20 + 2 * request["disk_mb"] * 2**20 + SLACK)
    try:
        if template is not None:
            first = template.start(request, [given, *writes], reserved)
        elif not (first := context.fork()):
            run_first(request, files, context, given, writes, reserved)
    except BaseException:
        for read, _ in pipes:
            os.close(read)
        raise
    finally:
        for fd in (given, *writes):
            os.close(fd)
    watcher = UsageWatcher(request["memory_mb"], {*known, first}, request["cpu_s"])
    out, err, report = (CappedOutput(read, request["output_bytes"]) for read, _ in pipes)
    report.most = _MAX_REPORT + MAX_ARTIFACT
    why = _collect([out, err, report], began + request["call_s"], watcher)
    with suppress(ProcessLookupError):
        os.kill(first, signal.SIGKILL)
    os.waitpid(first, 0) if template is None else template.reap(first)
    for one in (out, err, report):
        os.close(one.fd)
    if context.cgroup.kills() > killed:
        why = "memory"
    ended: dict[str, Any] = {"code": -1, "signal": signal.SIGKILL, "cpu": 0.0, "peak": 0}
    head, _, artifact = bytes(report.data).partition(b"\n")
    if head and not why:
        ended = json.loads(head)
    truncated = out.more or err.more
    ended["cpu"] = max(ended.get("cpu", 0.0), watcher.cpu_s)
    ended.update(why="output" if truncated else why, seconds=time.monotonic() - began)
    return ended, (bytes(out.data), bytes(err.data), artifact)


def _standard_input(data: bytes) -> int:
    """Descriptor of a file in memory that cannot be changed: no limit would count it."""
    fd = os.memfd_create("stdin", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    while data:
        data = data[os.write(fd, data) :]
    os.lseek(fd, 0, os.SEEK_SET)
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def _collect(outputs: list[CappedOutput], deadline: float, watcher: UsageWatcher) -> str:
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
        if why := watcher.exceeded():
            return why
    for one in (out, err):
        while one.take() and not one.more:
            pass
    return ""


def run_first(
    request: dict[str, Any],
    files: Mapping[str, bytes] | None,
    context: ProgramContext,
    given: int,
    writes: Sequence[int],
    reserved: int,
    body: Callable[[], NoReturn] | None = None,
) -> NoReturn:
    """Run the program's parent process.

    Args:
        request: see `run_program`.
        files: see `run_program`.
        context: see `run_program`.
        given: descriptor of standard input.
        writes: descriptors of standard output, standard error and the report.
        reserved: processes of this user that are not the program's.
        body: run instead of a new program.
    """
    out, err, report = writes
    artifact = b""
    try:
        context.cgroup.join()
        context.enter(request["disk_mb"], files is not None)
        os.chdir(WORK)
        for name, data in (files or {}).items():
            _write(name, data)
        child = os.fork()
        if not child:
            _program(request, context, given, out, err, reserved, body)
        os.close(out)
        os.close(err)
        ended = _ending(child)
        # What still runs could go on writing: end it before anything else is done.
        context.end_rest()
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        ended["cpu"] = usage.ru_utime + usage.ru_stime
        if request["artifact"] and not ended["code"]:
            artifact = _read(request["artifact"])
        text = json.dumps(ended)
    except OSError as error:
        text = json.dumps({"failed": f"{getattr(error, 'what', '')} {error}"})
    left = memoryview(text.encode() + b"\n" + artifact)
    while left:
        left = left[os.write(report, left) :]
    os._exit(0)


def _ending(child: int) -> dict[str, Any]:
    while True:
        pid, status, usage = os.wait4(-1, 0)
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return {"code": max(code, -1), "signal": max(-code, 0), "peak": usage.ru_maxrss * 1024}


def _write(name: str, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with open(os.open(name, flags, 0o755), "wb", buffering=0) as file:
        left = memoryview(data)
        while left:
            left = left[file.write(left) :]


def _read(name: str) -> bytes:
    """Content of a regular file of the current folder; b"" if there is none, or it is too large."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return b""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_ARTIFACT:
        os.close(fd)
        return b""
    with open(fd, "rb", buffering=0) as file:
        return file.read(MAX_ARTIFACT) or b""


def _program(
    request: dict[str, Any],
    context: ProgramContext,
    given: int,
    out: int,
    err: int,
    reserved: int,
    body: Callable[[], NoReturn] | None,
) -> NoReturn:
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
            request["stack_mb"],
        )
        context.drop()
        if body is None:
            os.execvpe(request["argv"][0], request["argv"], {**ENVIRON, "PATH": context.path})
    except FileNotFoundError:
        os.write(2, f"{request['argv'][0]}: not found\n".encode())
        code = _NOT_FOUND
    except (OSError, ValueError) as error:
        os.write(2, f"{request['argv'][0]}: {error}\n".encode())
    else:
        body()
    os._exit(code)
