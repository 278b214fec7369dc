"""`embedded`: code in namespaces of its own, on the host's kernel, without a daemon or root.

A snapshot is a waiting copy of the interpreter's process and a frozen layer of files; both cost the
same however much there is. A copy that was killed is found out, and made again by doing the same
things again: its outputs, variables and files are compared, and a difference is `SnapshotLost`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

from leafe_gym.errors import SandboxUnavailable, SnapshotLost, UsageError
from leafe_gym.sandbox.base import Capabilities, Limits, SandboxSnapshot
from leafe_gym.sandbox.embedded.link import Link, shown
from leafe_gym.sandbox.embedded.refusal import unsupported
from leafe_gym.sandbox.stepwise import Step, Stepwise, not_running, steps_after
from leafe_gym.sandbox.talk import Dead, Gone


@dataclass(slots=True, eq=False)
class Mark:
    """A snapshot as the sandbox that made it knows it."""

    sandbox: EmbeddedSandbox
    id: int
    link: Link
    step: Step | None = field(repr=False)


class EmbeddedSandbox(Stepwise):
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
        super().__init__(limits or Limits())
        self._folders = shown(readable)
        self._files = files
        self._session: Link | None = None
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
            other._do_again(steps_after(mark.step))
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
            raise not_running()
        return self._session

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
        self._do_again(steps_after(step))


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
