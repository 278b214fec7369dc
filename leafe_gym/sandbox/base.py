"""What a sandbox is, and how one is found by name.

Other packages add theirs through the entry-point group `leafe_gym.sandboxes`: the name is what
users write, the object a callable that takes `limits=` and the sandbox's own options.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Literal, Protocol, cast, runtime_checkable

from leafe_gym.errors import SandboxUnavailable, UsageError

GROUP = "leafe_gym.sandboxes"

BUILTIN = {
    "embedded": "leafe_gym.sandbox.embedded.sandbox:EmbeddedSandbox",
    "docker": "leafe_gym.sandbox.docker.sandbox:DockerSandbox",
    "docker-commit": "leafe_gym.sandbox.docker.sandbox:DockerCommitSandbox",
    "unsandboxed": "leafe_gym.sandbox.unsandboxed:UnsandboxedSandbox",
}
"""Name -> where its class lives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxLimits:
    """What one call may take.

    Attributes:
        call_s: wall-clock seconds.
        cpu_s: seconds of processor time; None for no limit but `call_s`.
        memory_mb: memory, in MiB.
        processes: processes and threads at the same time.
        output_bytes: standard output and standard error, each.
        disk_mb: files of the work folder, in MiB.
    """

    call_s: float = 10.0
    cpu_s: float | None = None
    memory_mb: int = 256
    processes: int = 64
    output_bytes: int = 2**20
    disk_mb: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class CellResult:
    """What came of a cell.

    Attributes:
        stdout: what it printed.
        stderr: what it wrote to standard error.
        error: the traceback; "" if it ran through.
        timed_out: it was stopped; the session goes on as it was before the cell.
        truncated: output was cut at the limit.
        seconds: wall-clock time.
    """

    stdout: str = ""
    stderr: str = ""
    error: str = ""
    timed_out: bool = False
    truncated: bool = False
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramResult:
    """How a program ended.

    Attributes:
        stdout: what it wrote, cut at the limit.
        stderr: likewise.
        exit_code: 0 to 255; -1 where a signal ended it.
        signal: the signal that ended it, or 0.
        timed_out: it used up its wall-clock or processor time.
        out_of_memory: it was ended for its memory.
        truncated: it wrote more than it may, and was ended.
        seconds: wall-clock time.
    """

    stdout: str = ""
    stderr: str = ""
    exit_code: int = 0
    signal: int = 0
    timed_out: bool = False
    out_of_memory: bool = False
    truncated: bool = False
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a sandbox can do.

    Attributes:
        memory: a snapshot holds the interpreter's memory itself, not the way to it.
        files: a snapshot holds the work folder.
        branch: another sandbox can be made from a snapshot.
        isolation: what keeps code from the host.
        needs_root: it works for root only.
    """

    memory: bool
    files: bool
    branch: bool
    isolation: Literal["namespaces", "container", "none"]
    needs_root: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SandboxSnapshot:
    """A state of a session: memory and files. Good until dropped, or until its sandbox is closed.

    Attributes:
        kind: of the sandbox that made it.
        token: the sandbox's own; opaque.
        nbytes: what it takes, as far as known.
    """

    kind: str
    token: Any = field(repr=False)
    nbytes: int = 0


@runtime_checkable
class Sandbox(Protocol):
    """A work folder, a live Python session in it, and programs beside the session.

    Errors of a sandbox itself are `SandboxError`; what code does wrong is in the results.
    """

    kind: str

    def start(self) -> None:
        """Begin: an empty work folder and a session without variables.

        Raises:
            SandboxUnavailable: if this host cannot; says what it refuses and what to do.
        """
        ...

    def run_cell(self, code: str, *, timeout: float | None = None) -> CellResult:
        """Run a cell in the session, whose variables stay."""
        ...

    def run_program(
        self, argv: Sequence[str], *, stdin: str = "", limits: SandboxLimits | None = None
    ) -> ProgramResult:
        """Run a program in the work folder, away from the session; nothing of it goes on after."""
        ...

    def write_file(self, path: str, data: bytes) -> None:
        """Write a file of the work folder.

        Raises:
            UsageError: if `path` leads out of it.
        """
        ...

    def read_file(self, path: str, limit: int = 2**20) -> bytes:
        """The first `limit` bytes of a file of the work folder.

        Raises:
            FileNotFoundError: if there is no such plain file.
            UsageError: if `path` leads out of the folder.
        """
        ...

    def snapshot(self) -> SandboxSnapshot:
        """Save memory and files."""
        ...

    def restore(self, snapshot: SandboxSnapshot) -> None:
        """Come back to a snapshot, in place.

        Raises:
            SnapshotLost: if it is gone.
        """
        ...

    def branch(self, snapshot: SandboxSnapshot) -> Sandbox:
        """Another sandbox in that state; the two go on independently.

        Raises:
            SnapshotLost: if it is gone.
        """
        ...

    def drop(self, snapshot: SandboxSnapshot) -> None:
        """Give a snapshot up; again does nothing."""
        ...

    def close(self) -> None:
        """End everything; safe to call twice."""
        ...

    def capabilities(self) -> Capabilities:
        """What it can do."""
        ...


def make_sandbox(
    kind: str = "embedded",
    *,
    limits: SandboxLimits | None = None,
    allow_unsandboxed: bool = False,
    **options: Any,
) -> Sandbox:
    """A sandbox of that kind, not started yet.

    Args:
        kind: "embedded", "docker", "docker-commit", "unsandboxed", or one that another package
            adds.
        limits: of each call where it names none of its own.
        allow_unsandboxed: run code without isolation where this host has no such sandbox.
        options: the sandbox's own, such as a container image.

    Raises:
        UsageError: if nothing goes by that name, or it is "unsandboxed" and that is not allowed.
        SandboxUnavailable: if this host cannot have it.
    """
    if kind == "unsandboxed" and not allow_unsandboxed:
        raise UsageError(
            "sandbox='unsandboxed' runs a model's code with your own rights; if that is what you "
            "want, say so with allow_unsandboxed=True"
        )
    try:
        return _factory(kind)(limits=limits or SandboxLimits(), **options)
    except SandboxUnavailable:
        if not allow_unsandboxed or kind == "unsandboxed":
            raise
        return _factory("unsandboxed")(limits=limits or SandboxLimits())


def _factory(kind: str) -> Callable[..., Sandbox]:
    if kind in BUILTIN:
        module, _, attribute = BUILTIN[kind].partition(":")
        return cast(Callable[..., Sandbox], getattr(import_module(module), attribute))
    for point in entry_points(group=GROUP):
        if point.name == kind:
            return cast(Callable[..., Sandbox], point.load())
    others = {point.name for point in entry_points(group=GROUP)} - BUILTIN.keys()
    raise UsageError(
        f"there is no sandbox {kind!r}; use one of {', '.join([*BUILTIN, *sorted(others)])}"
    )
