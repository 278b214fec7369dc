"""Every error this package raises on purpose.

    LeafeError
    |-- UsageError               an argument, file or name cannot be used (exit code 2)
    |   |-- MissingExtra         an optional dependency is not installed
    |   |-- BrokenExtra          an optional dependency is installed and cannot be imported
    |   |-- ForkedUse            an object that belongs to another process was used after a fork
    |   |-- WrapperOrder         a RollbackWrapper sits below another wrapper
    |   |-- BadLevel             a level file is malformed
    |   |-- BadRecord            a file of problems is malformed
    |   |-- NoRows               a run gives no training rows
    |   `-- ConfigMismatch       a run folder was made by another configuration
    |-- RunIncomplete            a run ended with tasks that are still open
    |-- EnvironmentFailure       the environment raised or broke its contract
    |   `-- EnvironmentTimeout   a call into the environment did not return in time
    |-- BackendError             saving or restoring a state failed
    |   |-- ResetNeeded          no episode is running yet
    |   |-- SnapshotUnsupported  this environment cannot be saved in the asked-for way
    |   |-- SnapshotReleased     the snapshot was released before
    |   `-- RestoreMismatch      the restored state differs from the saved one
    |-- SandboxError             the sandbox failed, not the code in it
    |   |-- SandboxUnavailable   this host cannot run such a sandbox
    |   |-- SnapshotRefused      a session holds what no snapshot can hold
    |   `-- SnapshotLost         a saved state of a session is gone
    |-- PolicyError              one call of the policy failed
    |   |-- PolicyUnavailable    no call can succeed: the run ends and can be resumed
    |   `-- ContextFull          the prompt does not fit the model's window
    |-- BadReply                 the model's reply holds no usable decision
    |-- RollbackCheckFailed      an environment cannot be restored to earlier states
    |-- TrainingDiverged         loss or gradients are no longer finite
    `-- StoreError               the run folder
        |-- StoreBusy            another process is writing it
        `-- StoreCorrupt         it cannot be read

An `EnvironmentFailure`, a `BackendError` or a `PolicyError` ends the attempt without a reflection,
and the attempt does not count. A `BadReply` is recorded as a step without an action. A
`PolicyUnavailable` ends the run and records nothing for the attempts that were under way.
"""

from __future__ import annotations


class LeafeError(Exception):
    """Base of all errors raised on purpose by this package."""


class UsageError(LeafeError, ValueError):
    """Raised when arguments, files or names given by the caller cannot be used."""


class MissingExtra(UsageError):
    """Raised when an optional dependency is needed and absent; says what to install."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs an optional dependency: pip install 'leafe-gym[{extra}]'"
        )
        self.extra = extra


class BrokenExtra(UsageError):
    """Raised when an optional dependency is installed but importing it fails; says why."""

    def __init__(self, feature: str, extra: str, error: BaseException) -> None:
        super().__init__(
            f"{feature} is installed but cannot be imported ({type(error).__name__}: {error}); "
            f"reinstall it: pip install --force-reinstall 'leafe-gym[{extra}]'"
        )
        self.extra = extra


class ForkedUse(UsageError):
    """Raised when an object that holds a process, socket or file is used after a fork."""


class WrapperOrder(UsageError):
    """Raised when a RollbackWrapper is not the outermost wrapper."""


class BadLevel(UsageError):
    """Raised when a level file is malformed; names the level and the line."""


class BadRecord(UsageError):
    """Raised when a file of problems is malformed; names the file and the line."""


class NoRows(UsageError):
    """Raised when a run gives no training rows; says why."""


class ConfigMismatch(UsageError):
    """Raised when a run folder is resumed with a configuration other than its own."""


class EnvironmentFailure(LeafeError):
    """Raised when an environment raises, or returns something its contract forbids."""


class EnvironmentTimeout(EnvironmentFailure):
    """Raised when a step, reset or restore does not return before its deadline."""


class RunIncomplete(LeafeError):
    """Raised at the end of a run that left tasks open; the same call tries them again.

    Attributes:
        reasons: task id -> why it is open.
    """

    def __init__(self, message: str, reasons: dict[str, str]) -> None:
        super().__init__(message)
        self.reasons = reasons


class BackendError(LeafeError):
    """Raised when saving or restoring an environment fails."""


class ResetNeeded(BackendError):
    """Raised when an episode is needed and `reset` has not been called."""


class SnapshotUnsupported(BackendError):
    """Raised when an environment cannot be saved by the asked-for backend; says why."""


class SnapshotReleased(BackendError):
    """Raised when a snapshot is used after `release`."""


class RestoreMismatch(BackendError):
    """Raised when a restored environment differs from the one that was saved.

    Attributes:
        step: number of the first action whose outcome differs; 0 to t-1, or None when the
            observation right after the reset already differs.
    """

    def __init__(self, message: str, *, step: int | None) -> None:
        super().__init__(message)
        self.step = step


class SandboxError(LeafeError):
    """Raised when a sandbox itself fails; never for what the code in it does."""


class SandboxUnavailable(SandboxError):
    """Raised when this host cannot run such a sandbox; says what it refuses and what to do."""


class SnapshotRefused(SandboxError):
    """Raised when a session holds something that no snapshot can hold; names it."""


class SnapshotLost(SandboxError):
    """Raised when a saved state of a session is gone, for example because its holder was killed."""


class RollbackCheckFailed(LeafeError):
    """Raised by `CheckReport.raise_for_failures`; the message is the whole report."""


class PolicyError(LeafeError):
    """Raised when a policy could not answer at all (not when its answer is bad)."""


class PolicyUnavailable(PolicyError):
    """Raised when a policy cannot be reached or refuses every call; ends a run, uses up no task.

    The message says what to mend; the same command then goes on.
    """


class ContextFull(PolicyError):
    """Raised when a prompt does not fit the model's window; the attempt ends as a failure."""


class BadReply(LeafeError):
    """Raised by parsers when a model's text holds no usable decision; says why."""


class TrainingDiverged(LeafeError):
    """Raised when loss or gradients are no longer finite; the weights before that step are kept.

    Attributes:
        step: the optimizer step that was not taken, from 1.
        checkpoint: the last good checkpoint, or None if that is the model it began from.
    """

    def __init__(self, message: str, *, step: int, checkpoint: str | None) -> None:
        super().__init__(message)
        self.step = step
        self.checkpoint = checkpoint


class StoreError(LeafeError):
    """Raised when a run folder cannot be read or written."""


class StoreBusy(StoreError):
    """Raised when another process holds the run folder."""


class StoreCorrupt(StoreError):
    """Raised when a run folder's content cannot be trusted."""
