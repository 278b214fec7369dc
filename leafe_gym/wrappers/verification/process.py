"""The program's side of its verification process: starting it and running jobs there."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import cloudpickle  # type: ignore[import-untyped]

from leafe_gym.errors import LeafeError
from leafe_gym.wrappers.backends.fork_client import start_interpreter, stop_interpreter
from leafe_gym.wrappers.backends.fork_wire import ConnectionClosed, receive, send, send_socket
from leafe_gym.wrappers.backends.isolation import SCRATCH
from leafe_gym.wrappers.backends.pickled import brief
from leafe_gym.wrappers.backends.recipe import pickle_module_by_value
from leafe_gym.wrappers.verification.instance_factory import VerificationUnavailable

_START_SECONDS = 120.0
_JOB_SECONDS = 180.0


class VerificationProcess:
    """One process for all verifications of a program; see `process_main`.

    Raises:
        OSError: if no process can be started.
    """

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._lock = threading.Lock()
        self._process, self._sock = start_interpreter(
            "leafe_gym.wrappers.verification.process_main"
        )
        self.stop = weakref.finalize(self, stop_interpreter, self._process, self._sock, self.owner)

    @property
    def usable(self) -> bool:
        """Whether it belongs to this process and still runs."""
        return self.owner == os.getpid() and self.stop.alive and self._process.poll() is None

    def run(self, function: Callable[..., Any], arguments: bytes) -> Any:
        """The value of one job; an error of the job is raised here.

        Raises:
            VerificationUnavailable: if the process ended or did not answer in time.
        """
        scratch = tempfile.mkdtemp(prefix="leafe-verify-")
        os.chmod(scratch, 0o711)  # sandboxes that run as another user have to pass through
        job = (function, arguments, sys.path, dict(os.environ), os.getcwd(), scratch)
        ours, theirs = socket.socketpair()
        pid = None
        try:
            with self._lock, theirs:
                send(self._sock, "job", _START_SECONDS)
                send_socket(self._sock, theirs)
            pid = receive(ours, _START_SECONDS)
            send(ours, job, _START_SECONDS)
            kind, value, *trace = receive(ours, _JOB_SECONDS)
        except ConnectionClosed as error:
            raise VerificationUnavailable(
                "the process that verifies ended; the environment may have crashed"
            ) from error
        except TimeoutError as error:
            self._kill(pid)
            raise VerificationUnavailable(
                f"verification did not finish within {_JOB_SECONDS:g} s"
            ) from error
        finally:
            ours.close()
            shutil.rmtree(scratch, ignore_errors=True)
        if kind == "value":
            return value
        value.add_note(f"raised in the verification process:\n{trace[0]}")
        raise value

    def _kill(self, pid: int | None) -> None:
        with suppress(OSError):
            # Only while it is one of ours: the number may belong to another process later.
            if pid is not None and os.getpgid(pid) == self._process.pid:
                os.kill(pid, signal.SIGKILL)


_CURRENT: list[VerificationProcess] = []
_STARTING = threading.Lock()


def start_verification_process() -> VerificationProcess | None:
    """This program's verification process; returns before it is ready.

    None inside a verification job, which never verifies by itself.
    """
    if SCRATCH in os.environ:
        return None
    with _STARTING:
        if not _CURRENT or not _CURRENT[0].usable:
            _CURRENT[:] = [VerificationProcess()]
        return _CURRENT[0]


def run_job(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function of this package in the verification process.

    Raises:
        VerificationUnavailable: if the arguments cannot be sent there or the process fails.
        LeafeError: the job's own; errors of other kinds become `VerificationUnavailable`.
    """
    try:
        process = start_verification_process()
    except OSError as error:
        raise VerificationUnavailable(f"no process could be started: {error}") from error
    if process is None:
        raise VerificationUnavailable("this is a verification job already")
    while True:
        try:
            blob = cloudpickle.dumps(arguments)
        except Exception as error:
            raise VerificationUnavailable(
                f"it cannot be sent to another process: {brief(error)}"
            ) from error
        try:
            return process.run(function, blob)
        except (LeafeError, VerificationUnavailable):
            raise
        except Exception as error:
            if not pickle_module_by_value(error):
                raise VerificationUnavailable(brief(error)) from error
