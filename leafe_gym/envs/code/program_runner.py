"""A sandbox for programs that run to their end: started when needed, clean for each program."""

from __future__ import annotations

import signal
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from leafe_gym.errors import SandboxError, SandboxUnavailable, UsageError
from leafe_gym.sandbox.base import ProgramResult, Sandbox, SandboxLimits, make_sandbox

TRIES = 3
"""Sandboxes that are tried for one program before the failure counts as the environment's."""

RENEW = 500
"""Programs after which a sandbox is replaced, so that nothing piles up in it."""

MAX_ARTIFACT = 32 * 2**20
"""Largest compiled program, in bytes."""

_SWEEP = """
import os as _os, shutil as _shutil
_os.chmod(".", 0o700)
for _folder, _inside, _ in _os.walk("."):
    for _one in _inside:
        if not _os.path.islink(_os.path.join(_folder, _one)):
            _os.chmod(_os.path.join(_folder, _one), 0o700)
for _one in list(_os.scandir(".")):
    if _one.is_dir(follow_symlinks=False):
        _shutil.rmtree(_one.path)
    else:
        _os.unlink(_one.path)
"""


class ProgramRunner:
    """Runs programs, each in an empty work folder but for the files it is given.

    Args:
        kind: of the sandbox; see `leafe_gym.sandbox`.
        allow_unsandboxed: see `make_sandbox`.
        options: further arguments of `make_sandbox`, such as a container image.
    """

    def __init__(
        self,
        kind: str,
        *,
        allow_unsandboxed: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._kind = kind
        self._allow_unsandboxed = allow_unsandboxed
        self._options = dict(options or {})
        self._sandbox: Sandbox | None = None
        self._runs = 0
        self._end: weakref.finalize[..., Any] | None = None

    def run(
        self,
        argv: Sequence[str],
        stdin: str,
        limits: SandboxLimits,
        files: Mapping[str, bytes] | None = None,
    ) -> ProgramResult:
        """Run a program; see `make`."""
        return self.make(argv, stdin, limits, files)[0]

    def make(
        self,
        argv: Sequence[str],
        stdin: str,
        limits: SandboxLimits,
        files: Mapping[str, bytes] | None = None,
        artifact: str = "",
    ) -> tuple[ProgramResult, bytes]:
        """Run a program in a clean folder; a sandbox that fails is replaced and tried again.

        Args:
            argv: the program and its arguments.
            stdin: its standard input.
            limits: of the run.
            files: what lies in the folder, by name.
            artifact: a file to bring back; "" for none.

        Returns:
            How it ended, and the artifact's content, b"" where it was not made.

        Raises:
            SandboxUnavailable: if this host has no such sandbox.
            SandboxError: if several sandboxes failed one after the other.
        """
        for left in reversed(range(TRIES)):
            try:
                sandbox = self._started()
                for path, data in (files or {}).items():
                    sandbox.write_file(path, data)
                result = _timed(sandbox.run_program(argv, stdin=stdin, limits=limits), limits)
                made = _content(sandbox, artifact) if artifact and not result.exit_code else b""
                self._sweep(sandbox)
            except SandboxUnavailable:
                raise
            except SandboxError:
                self.close()
                if not left:
                    raise
            else:
                return result, made
        raise AssertionError("unreachable")

    @property
    def kind(self) -> str:
        """The sandbox in use; before the first program the one asked for."""
        return self._kind if self._sandbox is None else self._sandbox.kind

    def close(self) -> None:
        """End the sandbox; the next program starts another. Safe to call twice."""
        self._sandbox = None
        if self._end is not None:
            with suppress(SandboxError):  # it is being given up
                self._end()

    def _started(self) -> Sandbox:
        if self._runs >= RENEW:
            self.close()
        self._runs += 1
        if self._sandbox is None:
            sandbox = make_sandbox(
                self._kind, allow_unsandboxed=self._allow_unsandboxed, **self._options
            )
            sandbox.start()
            self._sandbox, self._runs = sandbox, 0
            self._end = weakref.finalize(self, sandbox.close)
        return self._sandbox

    def _sweep(self, sandbox: Sandbox) -> None:
        """Leave nothing for the next program to find."""
        swept = sandbox.run_cell(_SWEEP)
        if swept.error:
            raise SandboxError(f"the work folder could not be emptied: {swept.error}")


def _timed(result: ProgramResult, limits: SandboxLimits) -> ProgramResult:
    """The kernel's own end of what used up its processor time counts as that.

    It is a signal like any other, and comes when the kernel's coarse clock says so, which can be
    before the exact one does.
    """
    killed = result.signal in (signal.SIGKILL, signal.SIGXCPU) and not result.out_of_memory
    if killed and limits.cpu_s is not None and result.seconds >= 0.9 * limits.cpu_s:
        return replace(result, timed_out=True)
    return result


def _content(sandbox: Sandbox, path: str) -> bytes:
    try:
        return sandbox.read_file(path, MAX_ARTIFACT)
    except (OSError, UsageError):
        return b""
