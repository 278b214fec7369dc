"""Base class of sandboxes with a supervisor: operations are recorded and can be replayed.

A session that was lost is rebuilt by replaying its operations from an empty work folder. Every
output is compared with the recorded one; a difference raises `SnapshotLost`.
"""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from leafe_gym._process_guard import ProcessGuard
from leafe_gym.errors import SandboxError, SnapshotLost
from leafe_gym.sandbox._arguments import (
    check_cell,
    check_data,
    check_files,
    check_limits,
    check_path,
    check_program,
    check_read_limit,
    encode_stdin,
)
from leafe_gym.sandbox.base import CellResult, ProgramResult, SandboxLimits
from leafe_gym.sandbox.supervisor_client import SessionDied, SupervisorClient

_GRACE_S = 30.0
"""How much longer than its time limit a call may take before the sandbox counts as broken."""

_STOPPED = {
    "time": "",
    "memory": "MemoryError: the cell exceeded {memory_mb} MiB and was stopped",
    "ended": "The session ended and was restored to its state before this cell.",
}


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """A recorded operation; a linked list from the newest to the first.

    Attributes:
        previous: the operation before it; None for the first.
        kind: which method was called.
        arguments: its arguments.
        outcome: what it showed, without times.
    """

    previous: Operation | None
    kind: Literal["run_cell", "run_program", "write_file"]
    arguments: Any
    outcome: Any


class ReplayableSandbox(ABC):
    """A session behind a supervisor; see the module.

    Args:
        limits: default limits of each call.

    Raises:
        UsageError: if `limits` is not `SandboxLimits`.
    """

    def __init__(self, limits: SandboxLimits | None) -> None:
        self.limits = check_limits(limits)
        self._guard = ProcessGuard("a sandbox")
        self._last: Operation | None = None
        self._prepared: tuple[str, ...] = ()

    def run_cell(self, code: str, *, timeout: float | None = None) -> CellResult:
        """See `Sandbox.run_cell`."""
        check_cell(code, timeout)
        seconds = self.limits.call_s if timeout is None else float(timeout)
        try:
            result, stopped, lost = self._run_cell(code, seconds)
        except SessionDied:
            self._rebuild(self._last)
            result, stopped, lost = self._run_cell(code, seconds)
        if not stopped:
            self._last = Operation(self._last, "run_cell", (code, seconds), _observable(result))
        elif lost:
            self._rebuild(self._last)
        return result

    def run_program(
        self,
        argv: Sequence[str],
        *,
        stdin: str = "",
        limits: SandboxLimits | None = None,
        files: Mapping[str, bytes] | None = None,
        artifact: str = "",
    ) -> ProgramResult:
        """See `Sandbox.run_program`."""
        check_program(argv, stdin)
        check_files(files, artifact)
        limits = self.limits if limits is None else check_limits(limits)
        result = self._run_program(tuple(argv), stdin, limits, files, artifact)
        if files is None:  # otherwise the session does not see it
            arguments = (tuple(argv), stdin, limits, None, artifact)
            self._last = Operation(self._last, "run_program", arguments, _observable(result))
        return result

    def write_file(self, path: str, data: bytes) -> None:
        """See `Sandbox.write_file`."""
        check_path(path)
        check_data(data)
        self._client.ask("write_file", data, path=path)
        self._last = Operation(self._last, "write_file", (path, data), None)

    def read_file(self, path: str, limit: int = 2**20) -> bytes:
        """See `Sandbox.read_file`."""
        check_path(path)
        check_read_limit(limit)
        return self._client.ask("read_file", parts=1, path=path, limit=limit)[1][0]

    @property
    @abstractmethod
    def _client(self) -> SupervisorClient:
        """Connection to the running sandbox; raises `SandboxError` if it is not running."""

    @abstractmethod
    def _rebuild(self, operation: Operation | None) -> None:
        """Rebuild the session as of an operation; raises `SnapshotLost` if outputs differ."""

    def _replay(self, operations: Sequence[Operation]) -> None:
        """Execute operations again.

        Raises:
            SnapshotLost: if an output differs, or the session dies.
        """
        for number, operation in enumerate(operations):
            try:
                outcome = self._execute(operation)
            except SessionDied as error:
                raise SnapshotLost(
                    f"the session was lost, and its replay ended it again at call {number} of "
                    f"{len(operations)}"
                ) from error
            if outcome != operation.outcome:
                raise SnapshotLost(
                    f"the session was lost, and its replay differs: call {number} of "
                    f"{len(operations)} has another output"
                )
            self._last = Operation(self._last, operation.kind, operation.arguments, outcome)

    def _execute(self, operation: Operation) -> Any:
        if operation.kind == "run_cell":
            return _observable(self._run_cell(*operation.arguments)[0])
        if operation.kind == "run_program":
            return _observable(self._run_program(*operation.arguments))
        path, data = operation.arguments
        self._client.ask("write_file", data, path=path)
        return None

    def _run_cell(self, code: str, seconds: float) -> tuple[CellResult, bool, bool]:
        """(result of a cell, whether it was stopped, whether the session was lost with it)."""
        response, (out, err) = self._client.ask(
            "run_cell",
            code.encode("utf-8", "replace"),
            parts=2,
            seconds=seconds + _GRACE_S,
            limit=seconds,
            output_bytes=self.limits.output_bytes,
        )
        why = response.field("why", str)
        error = response.field("error", str)
        if why:
            error = _STOPPED.get(why, _STOPPED["ended"]).format(memory_mb=self.limits.memory_mb)
        result = CellResult(
            stdout=out.decode("utf-8", "replace"),
            stderr=err.decode("utf-8", "replace"),
            error=error,
            timed_out=why == "time",
            truncated=response.field("truncated", bool),
            seconds=response.field("seconds", float),
        )
        return result, bool(why), not response.field("restored", bool)

    def _make_room(self, limits: SandboxLimits) -> None:  # noqa: B027 - a hook
        """Before a program: raise what holds the session, where it is below these limits."""

    def _run_program(
        self,
        argv: Sequence[str],
        stdin: str,
        limits: SandboxLimits,
        files: Mapping[str, bytes] | None,
        artifact: str,
    ) -> ProgramResult:
        self._make_room(limits)
        given = encode_stdin(stdin)
        content = None if files is None else [(name, len(data)) for name, data in files.items()]
        ended, (out, err, made) = self._client.ask(
            "run_program",
            b"".join([given, *(files or {}).values()]),
            parts=3,
            seconds=limits.call_s + _GRACE_S,
            argv=list(argv),
            prepared=files == {} and tuple(argv) == self._prepared,
            stdin=len(given),
            files=content,
            artifact=artifact,
            call_s=limits.call_s,
            cpu_s=limits.cpu_s,
            memory_mb=limits.memory_mb,
            stack_mb=limits.stack_mb,
            disk_mb=limits.disk_mb,
            processes=limits.processes,
            output_bytes=limits.output_bytes,
        )
        number, why = ended.field("signal", int), ended.field("why", str)
        out_of_time = limits.cpu_s is not None and (
            number == signal.SIGXCPU or ended.field("cpu", float) >= limits.cpu_s
        )
        return ProgramResult(
            stdout=out.decode("utf-8", "replace"),
            stderr=err.decode("utf-8", "replace"),
            exit_code=ended.field("code", int),
            signal=number,
            timed_out=why == "time" or out_of_time,
            out_of_memory=why == "memory",
            truncated=why == "output",
            seconds=ended.field("seconds", float),
            artifact=made,
        )


def not_running() -> SandboxError:
    """The error for a sandbox that was not started, or that was closed."""
    return SandboxError("the sandbox is not running: call start()")


def operations_between(last: Operation | None, first: Operation | None = None) -> list[Operation]:
    """The operations after `first` up to and including `last`, oldest first.

    Args:
        last: the newest operation to include.
        first: the operation before the oldest; None for all.
    """
    found: list[Operation] = []
    while last is not None and last is not first:
        found.append(last)
        last = last.previous
    return found[::-1]


def _observable(result: CellResult | ProgramResult) -> tuple[Any, ...]:
    """The part of a result that a replay must reproduce: everything but the time."""
    if isinstance(result, CellResult):
        return result.stdout, result.stderr, result.error, result.truncated, result.timed_out
    return result.stdout, result.stderr, result.exit_code, result.signal, result.timed_out
