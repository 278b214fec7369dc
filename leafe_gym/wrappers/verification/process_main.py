"""The process that runs verification jobs for a program, each in a fork of itself.

It is a fresh interpreter that has imported this package and nothing else, so neither the program's
threads, windows and models nor earlier jobs affect a job.
"""

from __future__ import annotations

import ctypes
import gc
import os
import pickle
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from leafe_gym.wrappers.backends import BACKENDS
from leafe_gym.wrappers.backends.fork_client import ONE_THREAD
from leafe_gym.wrappers.backends.fork_wire import (
    ConnectionClosed,
    receive,
    receive_socket,
    send,
    wait_readable,
)
from leafe_gym.wrappers.backends.isolation import isolate

_LIBC = ctypes.CDLL(None)
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


class Job(NamedTuple):
    """One verification, as a value that pickles.

    Attributes:
        function: at the top of a module of this package.
        arguments: of the function, pickled, because they need `path` to be loaded.
        path: the program's `sys.path`.
        environ: its environment variables.
        cwd: its working folder.
        scratch: an empty folder for the job.
    """

    function: Callable[..., Any]
    arguments: bytes
    path: list[str]
    environ: dict[str, str]
    cwd: str
    scratch: str


def main(argv: list[str]) -> None:
    """Serve the connection on descriptor `argv[0]` for the program with process id `argv[1]`."""
    program = int(argv[1])
    watched = None
    with suppress(OSError, AttributeError):
        watched = os.pidfd_open(program)
    if os.getppid() != program:
        os._exit(0)  # it ended while this process was starting
    BACKENDS.names()  # scans the installed packages once, for all jobs
    gc.freeze()  # a garbage collection in a job would copy the memory of all that was imported
    sock = socket.socket(fileno=int(argv[0]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, _reap)
    while wait_readable(sock, watched):
        try:
            if receive(sock) == "exit":
                break
            passed = receive_socket(sock)
        except ConnectionClosed:
            break
        if os.fork() == 0:
            sock.close()
            _serve(passed)
        passed.close()
    os._exit(0)


def _reap(*_: Any) -> None:
    """Reap the jobs that ended, and end the processes that they left behind."""
    with suppress(ChildProcessError):
        while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            with suppress(OSError):
                os.killpg(ended.si_pid, signal.SIGKILL)  # not reaped: the number is its own
            os.waitpid(ended.si_pid, 0)


def _serve(sock: socket.socket) -> None:
    """Receive one job, run it and send its value or its error; never returns."""

    def run() -> Any:
        job = Job(*receive(sock))
        sys.path[:] = job.path
        prepare(job.environ, job.cwd, job.scratch)
        return job.function(*pickle.loads(job.arguments))

    answer(sock, run)


def answer(sock: socket.socket, run: Callable[[], Any]) -> None:
    """In a fork: send the value or the error of a call, and end the process.

    It leads a process group, so that its parent can end the whole group.
    """
    os.setpgid(0, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _LIBC.prctl(_DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    try:
        send(sock, os.getpid())
        try:
            reply: tuple[Any, ...] = ("value", run())
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the program
            reply = ("raised", _portable(error), "".join(traceback.format_exception(error)))
        send(sock, reply)
    finally:
        os._exit(0)


def prepare(environ: dict[str, str], cwd: str, scratch: str) -> None:
    """Discard output and isolate this process; see `isolate`."""
    silent = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(silent, stream)
    os.close(silent)
    isolate({**environ, **ONE_THREAD}, cwd, Path(scratch))


def _portable(error: BaseException) -> BaseException:
    """The error itself if it survives pickling, else one that says the same."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - errors hold anything
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
