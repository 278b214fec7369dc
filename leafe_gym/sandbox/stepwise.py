"""What sandboxes with a supervisor share: its questions, and the list of all that was done.

A session that was lost is made again by doing the same things again; what they show must be the
same, or it is `SnapshotLost`.
"""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from leafe_gym.errors import SandboxError, SnapshotLost, UsageError
from leafe_gym.sandbox.base import ExecResult, Limits, RunResult
from leafe_gym.sandbox.talk import Dead, Talk

_GRACE_S = 30.0
_STOPPED = {
    "time": "",
    "memory": "MemoryError: the cell took more than {memory_mb} MiB and was ended",
    "ended": "The session ended. It is again as it was before this cell.",
}


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """Something that was done, after another; None before the first."""

    before: Step | None
    what: Literal["exec", "run", "write"]
    order: Any
    outcome: Any


class Stepwise(ABC):
    """A session behind a supervisor; see the module.

    Args:
        limits: of each call where it names none of its own.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._last: Step | None = None

    def exec(self, code: str, *, timeout: float | None = None) -> ExecResult:
        """See `Sandbox.exec`.

        Raises:
            SandboxError: if the session is gone and cannot be made again.
        """
        seconds = self.limits.call_s if timeout is None else timeout
        try:
            result, stopped, lost = self._exec(code, seconds)
        except Dead:
            self._make_again(self._last)
            result, stopped, lost = self._exec(code, seconds)
        if stopped:
            if lost:
                self._make_again(self._last)
        else:
            self._last = Step(self._last, "exec", (code, seconds), _seen(result))
        return result

    def run(
        self, argv: Sequence[str], *, stdin: str = "", limits: Limits | None = None
    ) -> RunResult:
        """See `Sandbox.run`."""
        order = (tuple(argv), stdin, limits or self.limits)
        result = self._run(*order)
        self._last = Step(self._last, "run", order, _seen(result))
        return result

    def write_file(self, path: str, data: bytes) -> None:
        """See `Sandbox.write_file`."""
        self._link.ask("write", data, path=path)
        self._last = Step(self._last, "write", (path, data), None)

    def read_file(self, path: str, limit: int = 2**20) -> bytes:
        """See `Sandbox.read_file`."""
        return self._link.ask("read", path=path, limit=limit)[1][0]

    @property
    @abstractmethod
    def _link(self) -> Talk:
        """The running sandbox; raises `SandboxError` where there is none."""

    @abstractmethod
    def _make_again(self, step: Step | None) -> None:
        """A session in which everything up to a step was done; raises `SnapshotLost`."""

    def _do_again(self, steps: Sequence[Step]) -> None:
        """Do these things once more.

        Raises:
            SnapshotLost: if one shows something else, or the session dies of it.
        """
        for number, step in enumerate(steps):
            try:
                outcome = self._once(step)
            except Dead as error:
                raise SnapshotLost(
                    f"made again, the session ends with call {number} of {len(steps)}"
                ) from error
            if outcome != step.outcome:
                raise SnapshotLost(
                    f"the session was lost, and made again it differs: call {number} of "
                    f"{len(steps)} showed something else"
                )
            self._last = Step(self._last, step.what, step.order, outcome)

    def _once(self, step: Step) -> Any:
        if step.what == "exec":
            return _seen(self._exec(*step.order)[0])
        if step.what == "run":
            return _seen(self._run(*step.order))
        path, data = step.order
        return self._link.ask("write", data, path=path) and None

    def _exec(self, code: str, seconds: float) -> tuple[ExecResult, bool, bool]:
        """(what came of a cell, whether it was stopped, whether the session is gone with it)."""
        answer, (out, err) = self._link.ask(
            "exec",
            code.encode("utf-8", "replace"),
            seconds=seconds + _GRACE_S,
            limit=seconds,
            output_bytes=self.limits.output_bytes,
        )
        why = str(answer["why"])
        error = str(answer["error"])
        if why:
            error = _STOPPED[why].format(memory_mb=self.limits.memory_mb)
        result = ExecResult(
            stdout=out.decode("utf-8", "replace"),
            stderr=err.decode("utf-8", "replace"),
            error=error,
            timed_out=why == "time",
            truncated=bool(answer["truncated"]),
            seconds=float(answer["seconds"]),
        )
        return result, bool(why), not answer["back"]

    def _run(self, argv: Sequence[str], stdin: str, limits: Limits) -> RunResult:
        if not argv:
            raise UsageError("argv is empty: give a program")
        cpu = None if limits.cpu_s is None else max(1, -int(-limits.cpu_s // 1))
        ended, (out, err) = self._link.ask(
            "run",
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
        return RunResult(
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


def steps_after(last: Step | None, first: Step | None = None) -> list[Step]:
    """Everything that was done after one step up to another, in order.

    Args:
        last: the last of them.
        first: the step before them; None for all.
    """
    found: list[Step] = []
    while last is not None and last is not first:
        found.append(last)
        last = last.before
    return found[::-1]


def _seen(result: ExecResult | RunResult) -> tuple[Any, ...]:
    """What of an outcome must be the same again: all but the time it took."""
    if isinstance(result, ExecResult):
        return result.stdout, result.stderr, result.error, result.truncated, result.timed_out
    return result.stdout, result.stderr, result.exit_code, result.signal, result.timed_out
