"""The sandbox interface, its result types, and the registry of sandboxes by name.

Other packages add a sandbox through the entry-point group `leafe_gym.sandboxes`. The entry's name
is what users write; its object is a callable that takes `limits=` and the sandbox's own options.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol, cast, runtime_checkable

from pydantic import Field

from leafe_gym.config import Config, PositiveInt
from leafe_gym.errors import SandboxUnavailable, UsageError
from leafe_gym.registry import REGISTRIES

SANDBOXES = REGISTRIES["sandbox"]
"""Sandboxes by name."""

PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class SandboxLimits(Config):
    """Resource limits of one call.

    Raises:
        UsageError: for an unknown field, a value of another type, or a value <= 0.
    """

    call_s: PositiveSeconds = 10.0
    """Wall-clock seconds."""

    cpu_s: PositiveSeconds | None = None
    """Processor seconds of a program's processes together; None for no limit but `call_s`."""

    memory_mb: PositiveInt = 256
    """Memory of all processes together, in MiB."""

    stack_mb: PositiveInt | None = None
    """Stack of a program's main thread, in MiB, as far as the host permits; None for its default.
    Threads of C programs reserve as much each."""

    processes: PositiveInt = 64
    """Processes and threads that may exist at the same time."""

    output_bytes: PositiveInt = 2**20
    """Bytes of standard output and of standard error, each."""

    disk_mb: PositiveInt = 64
    """Size of all files in the work folder, in MiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellResult:
    """Result of running a cell in the session.

    Attributes:
        stdout: standard output.
        stderr: standard error.
        error: traceback; "" if the cell finished without an exception.
        timed_out: whether the cell hit its time limit; the session then has its previous state.
        truncated: whether output was cut at the limit.
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
    """Result of running a program.

    Attributes:
        stdout: standard output, cut at the limit.
        stderr: standard error, cut at the limit.
        exit_code: 0 to 255; -1 if a signal ended the program.
        signal: number of the signal that ended the program, or 0.
        timed_out: whether it hit its wall-clock or processor-time limit; the latter counts all
            processes that it starts.
        out_of_memory: whether it was killed for exceeding its memory limit.
        truncated: whether it was killed for exceeding its output limit.
        seconds: wall-clock time.
        artifact: content of the output file that was asked for; b"" if there is none.
    """

    stdout: str = ""
    stderr: str = ""
    exit_code: int = 0
    signal: int = 0
    timed_out: bool = False
    out_of_memory: bool = False
    truncated: bool = False
    seconds: float = 0.0
    artifact: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """Features of a sandbox.

    Attributes:
        memory: snapshots contain the interpreter's memory; if False, memory is replayed.
        files: snapshots contain the work folder.
        branch: a second sandbox can be created from a snapshot.
        isolation: the mechanism that separates code from the host.
        needs_root: whether it requires root.
    """

    memory: bool
    files: bool
    branch: bool
    isolation: Literal["namespaces", "container", "none"]
    needs_root: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SandboxSnapshot:
    """Saved memory and files of a session; valid until dropped or until its sandbox is closed.

    Attributes:
        kind: of the sandbox that created it.
        token: private data of that sandbox.
        nbytes: memory that the snapshot occupies, as far as known.
    """

    kind: str
    token: Any = field(repr=False)
    nbytes: int = 0


@runtime_checkable
class Sandbox(Protocol):
    """A work folder, a live Python session in it, and programs that run beside the session.

    A failure of the sandbox itself raises `SandboxError`; a failure of the code is part of the
    result. A sandbox belongs to the process that created it. After a fork, every method raises
    `ForkedUse` in the child, except `drop` and `close`: these release the child's copies of file
    descriptors and leave the parent's sandbox untouched.
    """

    kind: str

    def start(self) -> None:
        """Start with an empty work folder and a session without variables.

        Raises:
            SandboxUnavailable: if the host cannot run it; names the cause and the remedy.
        """
        ...

    def run_cell(self, code: str, *, timeout: float | None = None) -> CellResult:
        """Run code in the session; its variables persist.

        Args:
            code: Python source.
            timeout: wall-clock limit in seconds, > 0; default `call_s` of the sandbox's limits.

        Raises:
            UsageError: if an argument has the wrong type or range.
            SandboxError: if the session is lost and cannot be rebuilt.
        """
        ...

    def run_program(
        self,
        argv: Sequence[str],
        *,
        stdin: str = "",
        limits: SandboxLimits | None = None,
        files: Mapping[str, bytes] | None = None,
        artifact: str = "",
    ) -> ProgramResult:
        """Run a program, isolated from the session's processes.

        All processes that it starts are killed when it ends.

        Args:
            argv: program and arguments.
            stdin: standard input.
            limits: default the sandbox's.
            files: run in a new work folder with these files, by name, instead of the session's
                work folder. It ends with the program, so that nothing survives between programs.
            artifact: name of an output file to return; "" for none.

        Raises:
            UsageError: if an argument has the wrong type or range.
            SandboxError: if the program cannot be started.
        """
        ...

    def write_file(self, path: str, data: bytes) -> None:
        """Write a file of the work folder.

        Raises:
            UsageError: if `path` leads out of the folder, or an argument has the wrong type.
        """
        ...

    def read_file(self, path: str, limit: int = 2**20) -> bytes:
        """The first `limit` bytes of a file of the work folder; links are not followed.

        Raises:
            FileNotFoundError: if there is no such regular file.
            UsageError: if `path` leads out of the folder or through a link, or an argument has
                the wrong type.
        """
        ...

    def snapshot(self) -> SandboxSnapshot:
        """Save memory and files.

        Raises:
            SnapshotRefused: if the session holds something that no snapshot can hold, such as
                threads or an open pipe; names it. The session goes on unchanged.
        """
        ...

    def restore(self, snapshot: SandboxSnapshot) -> None:
        """Restore a snapshot in place.

        Raises:
            SnapshotLost: if the snapshot no longer exists.
            UsageError: if it is not a snapshot of this kind of sandbox.
        """
        ...

    def branch(self, snapshot: SandboxSnapshot) -> Sandbox:
        """Create a second, independent sandbox in the snapshot's state.

        Raises:
            SnapshotLost: if the snapshot no longer exists.
            UsageError: if it is not a snapshot of this kind of sandbox.
        """
        ...

    def drop(self, snapshot: SandboxSnapshot) -> None:
        """Release a snapshot; does nothing if it was released before."""
        ...

    def close(self) -> None:
        """Release all resources; safe to call twice."""
        ...

    def capabilities(self) -> Capabilities:
        """Features of this sandbox."""
        ...


PREPARED_COMMAND = ("python3", "-s", "-P", "-S", "-c")
PREPARED_END = "\nmain()\n"


@runtime_checkable
class PreparesPrograms(Protocol):
    """Optional method of a sandbox."""

    def prepare(self, argv: Sequence[str]) -> None:
        """Before `start`: programs with this argument vector, in empty work folders, will be many.

        If it is `PREPARED_COMMAND` and a source that ends with `PREPARED_END`, the sandbox may
        execute the source once without its end, and call `main` in a copy of that process for each
        program. Otherwise this has no effect.

        Args:
            argv: program and arguments. The source is executed with privileges that programs lack:
                pass source of your own only.

        Raises:
            UsageError: if the argument has the wrong type.
        """
        ...


def make_sandbox(
    kind: str = "embedded",
    *,
    limits: SandboxLimits | None = None,
    allow_unsandboxed: bool = False,
    **options: Any,
) -> Sandbox:
    """Create a sandbox; `start()` starts it.

    Args:
        kind: "embedded", "docker", "docker-commit", "unsandboxed", or a name that another package
            registers.
        limits: default limits of each call.
        allow_unsandboxed: run code without isolation if this host cannot provide the sandbox.
        options: options of that kind of sandbox, such as a container image.

    Raises:
        UsageError: if the name is unknown, an argument or option cannot be used, or the sandbox
            is "unsandboxed" without `allow_unsandboxed=True`.
        SandboxUnavailable: if the host cannot run it.
    """
    check_sandbox_choice(kind, allow_unsandboxed, argument="kind")
    if limits is None:
        limits = SandboxLimits()
    elif not isinstance(limits, SandboxLimits):
        raise UsageError(f"limits={limits!r}: expected SandboxLimits")
    try:
        return _construct(kind, limits, options)
    except SandboxUnavailable:
        if not allow_unsandboxed or kind == "unsandboxed":
            raise
        return _construct("unsandboxed", limits, {})


def check_sandbox_choice(
    kind: Any, allow_unsandboxed: Any = False, options: Any = None, *, argument: str = "sandbox"
) -> None:
    """Check the arguments that select a sandbox, without creating it.

    Args:
        kind: name of the sandbox.
        allow_unsandboxed: whether code may run without isolation.
        options: options of the sandbox, or None.
        argument: name of the caller's argument that holds `kind`, for the message.

    Raises:
        UsageError: if one of them cannot be used.
    """
    if not isinstance(kind, str):
        raise UsageError(f"{argument}={kind!r}: expected the name of a sandbox")
    if type(allow_unsandboxed) is not bool:
        raise UsageError(f"allow_unsandboxed={allow_unsandboxed!r}: expected True or False")
    if options is not None and not (
        isinstance(options, Mapping) and all(isinstance(key, str) for key in options)
    ):
        raise UsageError(f"sandbox_options={options!r}: expected a mapping from names to values")
    if kind not in SANDBOXES:
        raise UsageError(SANDBOXES.unknown(kind))
    if kind == "unsandboxed" and not allow_unsandboxed:
        raise UsageError(
            "sandbox='unsandboxed' runs a model's code with your own rights; to allow that, pass "
            "allow_unsandboxed=True"
        )


def _construct(kind: str, limits: SandboxLimits, options: Mapping[str, Any]) -> Sandbox:
    factory = cast(Callable[..., Sandbox], SANDBOXES.get(kind))
    try:
        inspect.signature(factory).bind(limits=limits, **options)
    except (TypeError, ValueError) as error:
        raise UsageError(f"sandbox {kind!r} cannot be created: {error}") from error
    return factory(limits=limits, **options)
