"""What travels between the driver of a run and its workers: jobs there, events back.

Every value pickles. The driver alone writes the run folder; an event is what it has to write.
"""

from __future__ import annotations

from dataclasses import dataclass

from leafe_gym.agents.agent import Agent
from leafe_gym.budget import Budget
from leafe_gym.exploration.config import ExploreConfig
from leafe_gym.tree import Branch, Tree
from leafe_gym.types import Json, Start, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a worker needs for all its jobs.

    Attributes:
        agent: how to explore.
        budget: of each task.
        config: what else decides the content of the run.
        choices: rollback backends that were chosen before, see `import_choice`.
        env_ids: Gymnasium ids of the tasks' environments.
    """

    agent: Agent
    budget: Budget
    config: ExploreConfig
    choices: tuple[dict[str, Json], ...] = ()
    env_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskJob:
    """One task to explore.

    Attributes:
        number: of the task in the run.
        task: the task.
        stored: its branches that were committed before, in order.
    """

    number: int
    task: Task
    stored: tuple[Branch, ...] = ()


@dataclass(frozen=True, slots=True)
class Opened:
    """The environment of a task was reset for the first time."""

    number: int
    start: Start


@dataclass(frozen=True, slots=True)
class Chosen:
    """A rollback backend was chosen for the environments of a task's kind; sent after `Opened`.

    Attributes:
        number: of the task.
        choice: as `export_choice` gives it; None where none was chosen.
    """

    number: int
    choice: dict[str, Json] | None


@dataclass(frozen=True, slots=True)
class Began:
    """An attempt is under way."""

    number: int
    branch: int


@dataclass(frozen=True, slots=True)
class Committed:
    """A branch was added to a tree."""

    number: int
    branch: Branch


@dataclass(frozen=True, slots=True)
class Finished:
    """A task is finished.

    Attributes:
        number: of the task.
        tree: its ledger and ending; without branches where it comes from another process.
    """

    number: int
    tree: Tree


@dataclass(frozen=True, slots=True)
class Failed:
    """A task stays open.

    Attributes:
        number: of the task.
        reason: why.
        here: another machine may do better: its environment could not be started.
    """

    number: int
    reason: str
    here: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """The run cannot go on: the policy is unavailable, a stored branch does not follow, ..."""

    number: int
    error: BaseException


@dataclass(frozen=True, slots=True)
class Beat:
    """A worker is alive.

    Attributes:
        busy: tasks under way.
        model_seconds: durations of the model calls answered since the last one, in seconds.
        env_seconds: likewise of steps, resets and restores of environments.
    """

    busy: int
    model_seconds: tuple[float, ...] = ()
    env_seconds: tuple[float, ...] = ()


Event = Opened | Chosen | Began | Committed | Finished | Failed | Ended | Beat
