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
from leafe_gym.sandbox.base import Capabilities, SandboxLimits, SandboxSnapshot
from leafe_gym.sandbox.embedded.diagnose import unsupported
from leafe_gym.sandbox.embedded.host_client import HostClient, readable_folders
from leafe_gym.sandbox.replayable import (
    Operation,
    ReplayableSandbox,
    not_running,
    operations_between,
)
from leafe_gym.sandbox.supervisor_client import SessionDied, SnapshotProcessLost


@dataclass(slots=True, eq=False)
class SavedSession:
    """A snapshot as the sandbox that made it knows it."""

    sandbox: EmbeddedSandbox
    id: int
    client: HostClient
    operation: Operation | None = field(repr=False)


class EmbeddedSandbox(ReplayableSandbox):
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
        limits: SandboxLimits | None = None,
        *,
        readable: Sequence[str | Path] = (),
        files: Literal["auto", "overlay", "copy"] = "auto",
    ) -> None:
        if files not in ("auto", "overlay", "copy"):
            raise UsageError(f"files={files!r}: use auto, overlay or copy")
        super().__init__(limits or SandboxLimits())
        self._folders = readable_folders(readable)
        self._files = files
        self._host: HostClient | None = None
        if reason := unavailable_reason():
            raise SandboxUnavailable(reason)

    def start(self) -> None:
        """See `Sandbox.start`."""
        self.close()
        limits = self.limits
        self._last = None
        self._host = HostClient(
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
        client = self._client
        try:
            answer, _ = client.ask("snapshot")
        except SessionDied:
            self._rebuild(self._last)
            answer, _ = client.ask("snapshot")
        token = SavedSession(self, answer["id"], client, self._last)
        return SandboxSnapshot(kind=self.kind, token=token, nbytes=answer["nbytes"])

    def restore(self, snapshot: SandboxSnapshot) -> None:
        """See `Sandbox.restore`; a lost holder is made again.

        Raises:
            SnapshotLost: if it was dropped, its sandbox closed, or it comes out otherwise.
        """
        saved = _saved_session(snapshot)
        if saved.sandbox is not self or saved.client is not self._host:
            raise SnapshotLost(
                "the snapshot's sandbox was closed, or it is another one's: branch()"
            )
        try:
            self._client.ask("restore", id=saved.id)
        except SnapshotProcessLost:
            self._rebuild_snapshot(saved)
        self._last = saved.operation

    def branch(self, snapshot: SandboxSnapshot) -> EmbeddedSandbox:
        """See `Sandbox.branch`: a second sandbox where the same is done again and compared.

        Raises:
            SnapshotLost: if it is gone, or comes out otherwise.
        """
        saved = _saved_session(snapshot)
        if saved.client is not saved.sandbox._host:
            raise SnapshotLost("the snapshot's sandbox was closed")
        proof, _ = saved.client.ask("digests", id=saved.id)
        other = EmbeddedSandbox(self.limits, readable=self._folders, files=self._files)
        other.start()
        try:
            other._replay(operations_between(saved.operation))
            made = other.snapshot()
            if other._client.ask("digests", id=made.token.id)[0] != proof or not proof["variables"]:
                raise SnapshotLost("done again in another sandbox, variables or files differ")
            other.drop(made)
        except BaseException:
            other.close()
            raise
        return other

    def drop(self, snapshot: SandboxSnapshot) -> None:
        """See `Sandbox.drop`."""
        saved = _saved_session(snapshot)
        if saved.client is saved.sandbox._host and saved.client.pid is not None:
            saved.client.ask("drop", id=saved.id)

    def close(self) -> None:
        """See `Sandbox.close`."""
        client, self._host = self._host, None
        if client is not None:
            client.close()

    def capabilities(self) -> Capabilities:
        """See `Sandbox.capabilities`."""
        return Capabilities(memory=True, files=True, branch=True, isolation="namespaces")

    @property
    def pid(self) -> int | None:
        """The host's process that it ends with; None where it does not run."""
        return None if self._host is None else self._host.pid

    @property
    def _client(self) -> HostClient:
        if self._host is None:
            raise not_running()
        return self._host

    def _rebuild_snapshot(self, saved: SavedSession) -> None:
        """Make a snapshot again whose process is gone.

        Raises:
            SnapshotLost: if it comes out otherwise.
        """
        self._rebuild(saved.operation)
        self._client.ask("replace", id=saved.id)

    def _rebuild(self, operation: Operation | None) -> None:
        """A session in which everything up to a operation was done, in an empty folder.

        Raises:
            SnapshotLost: if something shows otherwise than before.
        """
        self._client.ask("reset")
        self._last = None
        self._replay(operations_between(operation))


def _saved_session(snapshot: SandboxSnapshot) -> SavedSession:
    if not isinstance(snapshot.token, SavedSession):
        raise UsageError(f"a snapshot of sandbox {snapshot.kind!r} cannot be used here")
    return snapshot.token


@cache
def unavailable_reason() -> str:
    """Why this host cannot have it; "" if it can. Tried once in a process, with a real cell."""
    if reason := unsupported():
        return reason
    limits = SandboxLimits()
    settings = {
        "memory_mb": limits.memory_mb,
        "disk_mb": 8,
        "processes": limits.processes,
        "output_bytes": 4096,
        "folders": [],
        "files": "auto",
    }
    try:
        client = HostClient(settings)
    except SandboxUnavailable as error:
        return str(error)
    client.close()
    return ""
