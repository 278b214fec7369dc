"""Runs programs in a sandbox that is started on first use, each in a work folder of its own."""

from __future__ import annotations

import signal
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from leafe_gym._process_guard import ProcessGuard
from leafe_gym.errors import SandboxError, SandboxUnavailable
from leafe_gym.sandbox.base import (
    PreparesPrograms,
    ProgramResult,
    Sandbox,
    SandboxLimits,
    check_sandbox_choice,
    make_sandbox,
)

TRIES = 3
"""Sandboxes to try for one program before the failure counts as the environment's."""


class ProgramRunner:
    """Runs programs, each in a new work folder that contains only the given files.

    Args:
        kind: name of the sandbox; see `leafe_gym.sandbox`.
        allow_unsandboxed: see `make_sandbox`.
        options: further arguments of `make_sandbox`, such as a container image.

    Raises:
        UsageError: if an argument cannot be used.
    """

    def __init__(
        self,
        kind: str,
        *,
        allow_unsandboxed: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        check_sandbox_choice(kind, allow_unsandboxed, options)
        self._kind = kind
        self._allow_unsandboxed = allow_unsandboxed
        self._options = dict(options or {})
        self._guard: ProcessGuard | None = None
        self._sandbox: Sandbox | None = None
        self._finalizer: weakref.finalize[..., Any] | None = None

    def run(
        self,
        argv: Sequence[str],
        stdin: str,
        limits: SandboxLimits,
        files: Mapping[str, bytes] | None = None,
        artifact: str = "",
        *,
        trusted: bool = False,
    ) -> ProgramResult:
        """Run a program; a sandbox that fails is replaced and the run repeated.

        Args:
            argv: program and arguments.
            stdin: standard input.
            limits: of the run.
            files: content of the work folder, by name.
            artifact: name of an output file to return; "" for none.
            trusted: the program is our own and is run often; see `PreparesPrograms`.

        Raises:
            ForkedUse: after a fork, in the child.
            SandboxUnavailable: if this host cannot run the sandbox.
            SandboxError: if `TRIES` sandboxes failed one after the other.
        """
        if self._guard is not None:
            self._guard.check()
        for left in reversed(range(TRIES)):
            try:
                sandbox = self._started(argv if trusted else ())
                result = sandbox.run_program(
                    argv, stdin=stdin, limits=limits, files=files or {}, artifact=artifact
                )
            except SandboxUnavailable:
                raise
            except SandboxError:
                self.close()
                if not left:
                    raise
            else:
                return _with_time_limit(result, limits)
        raise AssertionError("unreachable")

    @property
    def kind(self) -> str:
        """The sandbox in use; before the first program, the requested one."""
        return self._kind if self._sandbox is None else self._sandbox.kind

    def close(self) -> None:
        """Close the sandbox; the next program starts another. Safe to call twice.

        After a fork, the child only drops its references.
        """
        finalizer, self._finalizer = self._finalizer, None
        self._sandbox = self._guard = None
        if finalizer is not None:
            with suppress(SandboxError):  # the sandbox is discarded anyway
                finalizer()

    def _started(self, prepared: Sequence[str]) -> Sandbox:
        if self._sandbox is None:
            sandbox = make_sandbox(
                self._kind, allow_unsandboxed=self._allow_unsandboxed, **self._options
            )
            if prepared and isinstance(sandbox, PreparesPrograms):
                sandbox.prepare(prepared)
            sandbox.start()
            self._sandbox = sandbox
            self._guard = ProcessGuard("a program runner")
            self._finalizer = weakref.finalize(self, close_sandbox, sandbox, self._guard)
        return self._sandbox


def close_sandbox(sandbox: Sandbox, guard: ProcessGuard) -> None:
    """Close a sandbox, unless this is a forked child of the process that created it."""
    if not guard.foreign:
        sandbox.close()


def _with_time_limit(result: ProgramResult, limits: SandboxLimits) -> ProgramResult:
    """Mark a result as timed out if the kernel killed the program for its processor time.

    The kernel's coarse clock may send the signal before the exact clock reaches the limit.
    """
    killed = result.signal in (signal.SIGKILL, signal.SIGXCPU) and not result.out_of_memory
    if killed and limits.cpu_s is not None and result.seconds >= 0.9 * limits.cpu_s:
        return replace(result, timed_out=True)
    return result
