"""`embedded`: code in Linux namespaces on the host's kernel, without a daemon or root.

A snapshot is a paused copy of the interpreter process and a frozen file layer; the cost of both is
independent of the amount of data. If the paused process was killed, the state is rebuilt by
replaying the session's operations; outputs, variables and files are compared, and a difference
raises `SnapshotLost`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from leafe_gym.errors import SandboxUnavailable, SnapshotLost, UsageError
from leafe_gym.sandbox._arguments import check_program, check_snapshot
from leafe_gym.sandbox.base import (
    PREPARED_COMMAND,
    PREPARED_END,
    Capabilities,
    SandboxLimits,
    SandboxSnapshot,
)
from leafe_gym.sandbox.embedded.diagnose import unsupported
from leafe_gym.sandbox.embedded.host_client import HostClient, readable_folders
from leafe_gym.sandbox.embedded.packages import package_paths
from leafe_gym.sandbox.replayable import (
    Operation,
    ReplayableSandbox,
    not_running,
    operations_between,
)
from leafe_gym.sandbox.supervisor_client import SessionDied, SnapshotProcessLost


@dataclass(slots=True, eq=False)
class SavedSession:
    """Private data of a snapshot.

    Attributes:
        sandbox: the sandbox that created it.
        id: the supervisor's number of the saved state.
        host: connection at that time; another one after the sandbox was closed.
        operation: the last operation before the snapshot.
    """

    sandbox: EmbeddedSandbox
    id: int
    host: HostClient
    operation: Operation | None = field(repr=False)


class EmbeddedSandbox(ReplayableSandbox):
    """A sandbox of Linux namespaces, without a daemon or root.

    Background processes that a cell starts are killed when the cell ends. A cell that exceeds its
    time or memory limit, or ends the interpreter, leaves the session in its previous state.

    Args:
        limits: default limits of each call; `memory_mb`, `processes` and `disk_mb` also apply to
            the session.
        readable: folders of the host that code may read, at their own paths. Without them, code
            can read the system's programs and libraries and those of the interpreter.
        packages: names of packages that are installed for this program and that code may import,
            beside those of the base interpreter.
        files: how the work folder is saved: "overlay", "copy", or "auto" for the first of them
            that works on this host.

    Raises:
        SandboxUnavailable: if the host does not permit what it needs.
        UsageError: if an argument cannot be used.
    """

    kind = "embedded"

    def __init__(
        self,
        limits: SandboxLimits | None = None,
        *,
        readable: Sequence[str | Path] = (),
        packages: Sequence[str] = (),
        files: Literal["auto", "overlay", "copy"] = "auto",
    ) -> None:
        if files not in ("auto", "overlay", "copy"):
            raise UsageError(f"files={files!r}: use auto, overlay or copy")
        super().__init__(limits)
        self._folders = readable_folders(readable)
        self._shared, self._searched = package_paths(packages)
        self._packages = list(packages)
        try:
            readable_folders([Path(one).parent for one in self._shared])
        except UsageError as error:
            raise UsageError(
                f"packages={self._packages!r} cannot be used from where they are installed: "
                f"{error}; run this program in an environment elsewhere"
            ) from error
        self._files = files
        self._host: HostClient | None = None
        if reason := unavailable_reason():
            raise SandboxUnavailable(reason)

    def prepare(self, argv: Sequence[str]) -> None:
        """See `PreparesPrograms.prepare`."""
        check_program(argv, "")
        *options, source = argv
        if tuple(options) == PREPARED_COMMAND and source.endswith(PREPARED_END):
            self._prepared = tuple(argv)

    def start(self) -> None:
        """See `Sandbox.start`."""
        self._guard.check()
        self.close()
        limits = self.limits
        self._last = None
        self._host = HostClient(
            {
                "memory_mb": limits.memory_mb,
                "disk_mb": limits.disk_mb,
                "processes": limits.processes,
                "output_bytes": limits.output_bytes,
                "folders": [*self._folders, *self._shared],
                "python_path": ":".join(self._searched),
                "files": self._files,
                "prepared": "".join(self._prepared[-1:]).removesuffix(PREPARED_END),
            }
        )

    def snapshot(self) -> SandboxSnapshot:
        """See `Sandbox.snapshot`."""
        host = self._client
        try:
            response, _ = host.ask("snapshot")
        except SessionDied:
            self._rebuild(self._last)
            response, _ = host.ask("snapshot")
        token = SavedSession(self, response.field("id", int), host, self._last)
        return SandboxSnapshot(kind=self.kind, token=token, nbytes=response.field("nbytes", int))

    def restore(self, snapshot: SandboxSnapshot) -> None:
        """See `Sandbox.restore`; a state whose process was killed is rebuilt.

        Raises:
            SnapshotLost: if it was dropped, its sandbox was closed, or the rebuilt state differs.
        """
        self._guard.check()
        saved = _saved_session(snapshot)
        if saved.sandbox is not self or saved.host is not self._host:
            raise SnapshotLost(
                "the snapshot's sandbox was closed, or it belongs to another sandbox: use branch()"
            )
        try:
            self._client.ask("restore", id=saved.id)
        except SnapshotProcessLost:
            self._rebuild(saved.operation)
            self._client.ask("replace", id=saved.id)
        self._last = saved.operation

    def branch(self, snapshot: SandboxSnapshot) -> EmbeddedSandbox:
        """See `Sandbox.branch`; replays the operations in a second sandbox and compares.

        Raises:
            SnapshotLost: if the snapshot no longer exists, or the replayed state differs.
        """
        self._guard.check()
        saved = _saved_session(snapshot)
        if saved.host is not saved.sandbox._host:
            raise SnapshotLost("the snapshot's sandbox was closed")
        digests = _digests(saved.host, "digests", id=saved.id)
        other = EmbeddedSandbox(
            self.limits, readable=self._folders, packages=self._packages, files=self._files
        )
        other.start()
        try:
            other._replay(operations_between(saved.operation))
            made = other.snapshot()
            again = _digests(other._client, "digests", id=made.token.id)
            if again != digests or not digests[0]:
                raise SnapshotLost("after a replay in another sandbox, variables or files differ")
            other.drop(made)
        except BaseException:
            other.close()
            raise
        return other

    def drop(self, snapshot: SandboxSnapshot) -> None:
        """See `Sandbox.drop`."""
        saved = _saved_session(snapshot)
        if self._guard.foreign or saved.sandbox._guard.foreign:
            return
        if saved.host is saved.sandbox._host and saved.host.pid is not None:
            saved.host.ask("drop", id=saved.id)

    def close(self) -> None:
        """See `Sandbox.close`."""
        host, self._host = self._host, None
        if host is not None:
            host.close()

    def capabilities(self) -> Capabilities:
        """See `Sandbox.capabilities`."""
        return Capabilities(memory=True, files=True, branch=True, isolation="namespaces")

    def state_digest(self) -> str:
        """Digest of the session's variables, as far as they are plain data, and of its files."""
        return ":".join(_digests(self._client, "current_digests"))

    @property
    def pid(self) -> int | None:
        """Process id of the sandbox's outermost process on the host; None if not running."""
        return None if self._host is None else self._host.pid

    @property
    def _client(self) -> HostClient:
        self._guard.check()
        if self._host is None:
            raise not_running()
        return self._host

    def _rebuild(self, operation: Operation | None) -> None:
        """Rebuild the session as of an operation, starting from an empty folder.

        Raises:
            SnapshotLost: if an output differs.
        """
        self._client.ask("reset")
        self._last = None
        self._replay(operations_between(operation))


def _digests(host: HostClient, request: str, **arguments: Any) -> tuple[str, str]:
    """Digests of variables and files."""
    response, _ = host.ask(request, **arguments)
    return response.field("variables", str), response.field("files", str)


def _saved_session(snapshot: SandboxSnapshot) -> SavedSession:
    check_snapshot(snapshot)
    if not isinstance(snapshot.token, SavedSession):
        raise UsageError(f"a snapshot of sandbox {snapshot.kind!r} cannot be used here")
    return snapshot.token


@cache
def unavailable_reason() -> str:
    """Why this host cannot run it; "" if it can. Starts a sandbox once per process."""
    if reason := unsupported():
        return reason
    limits = SandboxLimits()
    settings = {
        "memory_mb": limits.memory_mb,
        "disk_mb": 8,
        "processes": limits.processes,
        "output_bytes": 4096,
        "folders": [],
        "python_path": "",
        "files": "auto",
        "prepared": "",
    }
    try:
        host = HostClient(settings)
    except SandboxUnavailable as error:
        return str(error)
    host.close()
    return ""
