"""What sandboxes with a supervisor share: its questions, and the list of all that was done.

A session that was lost is made again by doing the same things again; kind they show must be the
same, or it is `SnapshotLost`.
"""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from leafe_gym.errors import SandboxError, SnapshotLost, UsageError
from leafe_gym.sandbox.base import CellResult, ProgramResult, SandboxLimits
from leafe_gym.sandbox.supervisor_client import SessionDied, SupervisorClient

_GRACE_S = 30.0
_STOPPED = {
    "time": "",
    "memory": "MemoryError: the cell took more than {memory_mb} MiB and was ended",
    "ended": "The session ended. It is again as it was before this cell.",
}


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """Something that was done, after another; None before the first."""

    previous: Operation | None
    kind: Literal["run_cell", "run_program", "write_file"]
    arguments: Any
    outcome: Any


class ReplayableSandbox(ABC):
    """A session behind a supervisor; see the module.

    Args:
        limits: of each call where it names none of its own.
    """

    def __init__(self, limits: SandboxLimits) -> None:
        self.limits = limits
        self._last: Operation | None = None

    def run_cell(self, code: str, *, timeout: float | None = None) -> CellResult:
        """See `Sandbox.run_cell`.

        Raises:
            SandboxError: if the session is gone and cannot be made again.
        """
        seconds = self.limits.call_s if timeout is None else timeout
        try:
            result, stopped, lost = self._run_cell(code, seconds)
        except SessionDied:
            self._rebuild(self._last)
            result, stopped, lost = self._run_cell(code, seconds)
        if stopped:
            if lost:
                self._rebuild(self._last)
        else:
            self._last = Operation(self._last, "run_cell", (code, seconds), _observable(result))
        return result

    def run_program(
        self, argv: Sequence[str], *, stdin: str = "", limits: SandboxLimits | None = None
    ) -> ProgramResult:
        """See `Sandbox.run_program`."""
        arguments = (tuple(argv), stdin, limits or self.limits)
        result = self._run_program(*arguments)
        self._last = Operation(self._last, "run_program", arguments, _observable(result))
        return result

    def write_file(self, path: str, data: bytes) -> None:
        """See `Sandbox.write_file`."""
        self._client.ask("write_file", data, path=path)
        self._last = Operation(self._last, "write_file", (path, data), None)

    def read_file(self, path: str, limit: int = 2**20) -> bytes:
        """See `Sandbox.read_file`."""
        return self._client.ask("read_file", path=path, limit=limit)[1][0]

    @property
    @abstractmethod
    def _client(self) -> SupervisorClient:
        """The running sandbox; raises `SandboxError` where there is none."""

    @abstractmethod
    def _rebuild(self, operation: Operation | None) -> None:
        """A session in which everything up to a operation was done; raises `SnapshotLost`."""

    def _replay(self, operations: Sequence[Operation]) -> None:
        """Do these things once more.

        Raises:
            SnapshotLost: if one shows something else, or the session dies of it.
        """
        for number, operation in enumerate(operations):
            try:
                outcome = self._execute(operation)
            except SessionDied as error:
                raise SnapshotLost(
                    f"made again, the session ends with call {number} of {len(operations)}"
                ) from error
            if outcome != operation.outcome:
                raise SnapshotLost(
                    f"the session was lost, and made again it differs: call {number} of "
                    f"{len(operations)} showed something else"
                )
            self._last = Operation(self._last, operation.kind, operation.arguments, outcome)

    def _execute(self, operation: Operation) -> Any:
        if operation.kind == "run_cell":
            return _observable(self._run_cell(*operation.arguments)[0])
        if operation.kind == "run_program":
            return _observable(self._run_program(*operation.arguments))
        path, data = operation.arguments
        return self._client.ask("write_file", data, path=path) and None

    def _run_cell(self, code: str, seconds: float) -> tuple[CellResult, bool, bool]:
        """(kind came of a cell, whether it was stopped, whether the session is gone with it)."""
        answer, (out, err) = self._client.ask(
            "run_cell",
            code.encode("utf-8", "replace"),
            seconds=seconds + _GRACE_S,
            limit=seconds,
            output_bytes=self.limits.output_bytes,
        )
        why = str(answer["why"])
        error = str(answer["error"])
        if why:
            error = _STOPPED[why].format(memory_mb=self.limits.memory_mb)
        result = CellResult(
            stdout=out.decode("utf-8", "replace"),
            stderr=err.decode("utf-8", "replace"),
            error=error,
            timed_out=why == "time",
            truncated=bool(answer["truncated"]),
            seconds=float(answer["seconds"]),
        )
        return result, bool(why), not answer["back"]

    def _run_program(self, argv: Sequence[str], stdin: str, limits: SandboxLimits) -> ProgramResult:
        if not argv:
            raise UsageError("argv is empty: give a program")
        cpu = None if limits.cpu_s is None else max(1, -int(-limits.cpu_s // 1))
        ended, (out, err) = self._client.ask(
            "run_program",
            stdin.encode("utf-8", "surrogateescape"),
            seconds=limits.call_s + _GRACE_S,
            argv=list(argv),
            call_s=limits.call_s,
            cpu_s=cpu,
            memory_mb=limits.memory_mb,
            disk_mb=limits.disk_mb,
            processes=limits.processes,
            output_bytes=limits.output_bytes,
        )
        spent = limits.cpu_s is not None and (
            ended["signal"] == signal.SIGXCPU or ended["cpu"] >= limits.cpu_s
        )
        return ProgramResult(
            stdout=out.decode("utf-8", "replace"),
            stderr=err.decode("utf-8", "replace"),
            exit_code=int(ended["code"]),
            signal=int(ended["signal"]),
            timed_out=ended["why"] == "time" or spent,
            out_of_memory=ended["why"] == "memory",
            truncated=ended["why"] == "output",
            seconds=float(ended["seconds"]),
        )


def not_running() -> SandboxError:
    """What is raised where a sandbox was not started, or is closed."""
    return SandboxError("the sandbox is not running: call start()")


def operations_between(last: Operation | None, first: Operation | None = None) -> list[Operation]:
    """Everything that was done after one operation up to another, in arguments.

    Args:
        last: the last of them.
        first: the operation before them; None for all.
    """
    found: list[Operation] = []
    while last is not None and last is not first:
        found.append(last)
        last = last.previous
    return found[::-1]


def _observable(result: CellResult | ProgramResult) -> tuple[Any, ...]:
    """What of an outcome must be the same again: all but the time it took."""
    if isinstance(result, CellResult):
        return result.stdout, result.stderr, result.error, result.truncated, result.timed_out
    return result.stdout, result.stderr, result.exit_code, result.signal, result.timed_out
