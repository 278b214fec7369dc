"""`embedded`: code in namespaces of its own, on the host's kernel, without a daemon or root.

A snapshot is a waiting copy of the interpreter's process and a frozen layer of files; both cost the
same however much there is. A copy that was killed is found out, and made again by doing the same
things again: its outputs, variables and files are compared, and a difference is `SnapshotLost`.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from leafe_gym.errors import SandboxError, SandboxUnavailable, SnapshotLost, UsageError
from leafe_gym.sandbox.base import Capabilities, ExecResult, Limits, RunResult, SandboxSnapshot
from leafe_gym.sandbox.embedded.link import Dead, Gone, Link, shown
from leafe_gym.sandbox.embedded.refusal import unsupported

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


@dataclass(slots=True, eq=False)
class Mark:
    """A snapshot as the sandbox that made it knows it."""

    sandbox: EmbeddedSandbox
    id: int
    link: Link
    step: Step | None = field(repr=False)


class EmbeddedSandbox:
    """See the module.

    What a cell starts in the background ends with the cell. A cell that runs out of time or
    memory, or ends the interpreter, leaves the session as it was before.

    Args:
        limits: of each call where it names none of its own; `memory_mb`, `processes` and
            `disk_mb` are also the session's.
        readable: folders of the host that code may read, at their own paths; else it sees the
            system's programs and libraries and the interpreter's.
        files: how the work folder is saved: "overlay", "copy", or the better one that works.

    Raises:
        SandboxUnavailable: if this host refuses what it needs.
        UsageError: if an argument cannot be used.
    """

    kind = "embedded"

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        readable: Sequence[str | Path] = (),
        files: Literal["auto", "overlay", "copy"] = "auto",
    ) -> None:
        if files not in ("auto", "overlay", "copy"):
            raise UsageError(f"files={files!r}: use auto, overlay or copy")
        self.limits = limits or Limits()
        self._folders = shown(readable)
        self._files = files
        self._session: Link | None = None
        self._last: Step | None = None
        if reason := why_not():
            raise SandboxUnavailable(reason)

    def start(self) -> None:
        """See `Sandbox.start`."""
        self.close()
        limits = self.limits
        self._last = None
        self._session = Link(
            {
                "memory_mb": limits.memory_mb,
                "disk_mb": limits.disk_mb,
                "processes": limits.processes,
                "output_bytes": limits.output_bytes,
                "folders": self._folders,
                "files": self._files,
            }
        )

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
        result = self._run(argv, stdin, limits or self.limits)
        order = (tuple(argv), stdin, limits or self.limits)
        self._last = Step(self._last, "run", order, _seen(result))
        return result

    def write_file(self, path: str, data: bytes) -> None:
        """See `Sandbox.write_file`."""
        self._link.ask("write", data, path=path)
        self._last = Step(self._last, "write", (path, data), None)

    def read_file(self, path: str, limit: int = 2**20) -> bytes:
        """See `Sandbox.read_file`."""
        return self._link.ask("read", path=path, limit=limit)[1][0]

    def snapshot(self) -> SandboxSnapshot:
        """See `Sandbox.snapshot`.

        Raises:
            SandboxError: if the session runs threads, or has a file open that was deleted.
        """
        link = self._link
        try:
            answer, _ = link.ask("snapshot")
        except Dead:
            self._make_again(self._last)
            answer, _ = link.ask("snapshot")
        token = Mark(self, answer["id"], link, self._last)
        return SandboxSnapshot(kind=self.kind, token=token, nbytes=answer["nbytes"])

    def restore(self, snapshot: SandboxSnapshot) -> None:
        """See `Sandbox.restore`; a lost holder is made again.

        Raises:
            SnapshotLost: if it was dropped, its sandbox closed, or it comes out otherwise.
        """
        mark = _mark(snapshot)
        if mark.sandbox is not self or mark.link is not self._session:
            raise SnapshotLost(
                "the snapshot's sandbox was closed, or it is another one's: branch()"
            )
        try:
            self._link.ask("restore", id=mark.id)
        except Gone:
            self._rebuild(mark)
        self._last = mark.step

    def branch(self, snapshot: SandboxSnapshot) -> EmbeddedSandbox:
        """See `Sandbox.branch`: a second sandbox where the same is done again and compared.

        Raises:
            SnapshotLost: if it is gone, or comes out otherwise.
        """
        mark = _mark(snapshot)
        if mark.link is not mark.sandbox._session:
            raise SnapshotLost("the snapshot's sandbox was closed")
        proof, _ = mark.link.ask("proof", id=mark.id)
        other = EmbeddedSandbox(self.limits, readable=self._folders, files=self._files)
        other.start()
        try:
            other._do_again(_steps(mark.step))
            made = other.snapshot()
            if other._link.ask("proof", id=made.token.id)[0] != proof or not proof["mark"]:
                raise SnapshotLost("done again in another sandbox, variables or files differ")
            other.drop(made)
        except BaseException:
            other.close()
            raise
        return other

    def drop(self, snapshot: SandboxSnapshot) -> None:
        """See `Sandbox.drop`."""
        mark = _mark(snapshot)
        if mark.link is mark.sandbox._session and mark.link.pid is not None:
            mark.link.ask("drop", id=mark.id)

    def close(self) -> None:
        """See `Sandbox.close`."""
        link, self._session = self._session, None
        if link is not None:
            link.close()

    def capabilities(self) -> Capabilities:
        """See `Sandbox.capabilities`."""
        return Capabilities(memory=True, files=True, branch=True, isolation="namespaces")

    @property
    def pid(self) -> int | None:
        """The host's process that it ends with; None where it does not run."""
        return None if self._session is None else self._session.pid

    @property
    def _link(self) -> Link:
        if self._session is None:
            raise SandboxError("the sandbox is not running: call start()")
        return self._session

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

    def _rebuild(self, mark: Mark) -> None:
        """Make a snapshot again whose process is gone.

        Raises:
            SnapshotLost: if it comes out otherwise.
        """
        self._make_again(mark.step)
        self._link.ask("replace", id=mark.id)

    def _make_again(self, step: Step | None) -> None:
        """A session in which everything up to a step was done, in an empty folder.

        Raises:
            SnapshotLost: if something shows otherwise than before.
        """
        self._link.ask("fresh")
        self._last = None
        self._do_again(_steps(step))

    def _do_again(self, steps: Sequence[Step]) -> None:
        for number, step in enumerate(steps):
            if step.what == "write":
                self.write_file(*step.order)
                continue
            if step.what == "exec":
                code, seconds = step.order
                outcome = _seen(self.exec(code, timeout=seconds))
            else:
                argv, stdin, limits = step.order
                outcome = _seen(self.run(argv, stdin=stdin, limits=limits))
            if outcome != step.outcome:
                raise SnapshotLost(
                    f"the session was lost, and made again it differs: call {number} of "
                    f"{len(steps)} showed something else"
                )


def _steps(last: Step | None) -> list[Step]:
    """Everything up to a step, in order."""
    found: list[Step] = []
    while last is not None:
        found.append(last)
        last = last.before
    return found[::-1]


def _seen(result: ExecResult | RunResult) -> tuple[Any, ...]:
    """What of an outcome must be the same again: all but the time it took."""
    if isinstance(result, ExecResult):
        return result.stdout, result.stderr, result.error, result.truncated
    return result.stdout, result.stderr, result.exit_code, result.signal, result.timed_out


def _mark(snapshot: SandboxSnapshot) -> Mark:
    if not isinstance(snapshot.token, Mark):
        raise UsageError(f"a snapshot of sandbox {snapshot.kind!r} cannot be used here")
    return snapshot.token


@cache
def why_not() -> str:
    """Why this host cannot have it; "" if it can. Tried once in a process, with a real cell."""
    if reason := unsupported():
        return reason
    limits = Limits()
    settings = {
        "memory_mb": limits.memory_mb,
        "disk_mb": 8,
        "processes": limits.processes,
        "output_bytes": 4096,
        "folders": [],
        "files": "auto",
    }
    try:
        link = Link(settings)
    except SandboxUnavailable as error:
        return str(error)
    link.close()
    return ""
