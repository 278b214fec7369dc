"""`explore`: many tasks, many attempts, one event loop, one resumable run folder.

Tasks begin in order, at most `concurrency` attempts at the same time. While tasks are waiting each
task runs its attempts one after the other; slots that fall idle at the end run further attempts
of the remaining tasks beside each other, ahead of time. What comes out does not depend on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium as gym

from leafe_gym.agents.agent import Agent
from leafe_gym.agents.environment import Lanes
from leafe_gym.agents.frontier import Job
from leafe_gym.agents.grow import NoSlots, Slots, Stop
from leafe_gym.agents.sync import run_blocking
from leafe_gym.budget import Budget
from leafe_gym.errors import EnvironmentFailure, UsageError
from leafe_gym.seeds import derive_seed
from leafe_gym.store.records import checksum, dump, task_json
from leafe_gym.store.run import Run
from leafe_gym.tree import Branch, Tree
from leafe_gym.types import Json, Start, Task
from leafe_gym.wrappers.backends.base import Backend
from leafe_gym.wrappers.rollback.wrapper import RollbackWrapper
from leafe_gym.wrappers.verification.selection import export_choice, import_choice

Progress = Callable[[Task, Tree | None], None]
"""Called when a task is finished, with its tree, or None if it could not be explored."""


@dataclass(slots=True)
class _Recorder:
    """Writes one task's branches to the run as they are committed."""

    run: Run
    task: int

    def opened(self, start: Start) -> None:
        self.run.opened(self.task, start)

    def began(self, job: Job) -> None:
        self.run.began(self.task, job.id)

    def committed(self, branch: Branch) -> None:
        self.run.committed(self.task, branch)


def explore(
    agent: Agent,
    tasks: Sequence[Task],
    *,
    budget: Budget,
    out: str | Path,
    concurrency: int = 16,
    seed: int = 0,
    stop: Stop = "budget",
    backend: str | Backend = "auto",
    progress: Progress | None = None,
) -> Run:
    """Explore every task; the same call with the same `out` resumes.

    Args:
        agent: how to explore.
        tasks: what to explore, for example `lg.tasks("leafe/Sokoban-v0", split="train")[:200]`.
        budget: of each task.
        out: the run folder.
        concurrency: attempts at the same time, >= 1; changes nothing but the time it takes.
        seed: from which all sampling seeds derive, together with each task's id.
        stop: "budget" goes on after a success, "solved" ends a task at its first.
        backend: of the `RollbackWrapper` around each environment; what "auto" chose is kept in
            the run. `ForkBackend(timeouts=ForkTimeouts(call=60))` ends a step that hangs.
        progress: called when a task is finished.

    Returns:
        The finished run, open for reading.

    Raises:
        UsageError: for settings that cannot be used, or a folder made by others.
        StoreError: if the folder cannot be written or read.
    """
    call = aexplore(
        agent, tasks, budget=budget, out=out, concurrency=concurrency, seed=seed, stop=stop,
        backend=backend, progress=progress,
    )  # fmt: skip
    return run_blocking(call, twin="aexplore")


async def aexplore(
    agent: Agent,
    tasks: Sequence[Task],
    *,
    budget: Budget,
    out: str | Path,
    concurrency: int = 16,
    seed: int = 0,
    stop: Stop = "budget",
    backend: str | Backend = "auto",
    progress: Progress | None = None,
) -> Run:
    """The asynchronous twin of `explore`."""
    if concurrency < 1:
        raise UsageError(f"concurrency={concurrency}: expected a whole number >= 1")
    config = run_config(agent, tasks, budget=budget, seed=seed, stop=stop, backend=backend)
    with Run.open(out, config, tasks) as run:
        await _Engine(agent, run, budget, seed, stop, backend, progress).go(concurrency)
    return Run.read(out)


@dataclass(slots=True)
class _Engine:
    agent: Agent
    run: Run
    budget: Budget
    seed: int
    stop: Stop
    backend: str | Backend
    progress: Progress | None
    noted: set[str] = field(default_factory=set)

    async def go(self, concurrency: int) -> None:
        """Finish every open task."""
        for choice in self.run.backends():
            import_choice(choice)
        tasks = self.run.open_tasks()
        waiting = iter(tasks)
        workers_needed = min(concurrency, len(tasks))
        idle = NoSlots(concurrency - workers_needed)  # fills up as workers run out of tasks

        async def worker() -> None:
            for number, task in waiting:
                await self._explore(number, task, idle)
            idle.give()

        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(workers_needed):
                    workers.create_task(worker())
        except BaseExceptionGroup as group:
            raise _first(group) from group  # the others were cancelled or met the same

    async def _explore(self, number: int, task: Task, idle: Slots) -> None:
        made: list[RollbackWrapper] = []

        def make() -> RollbackWrapper:
            made.append(make_env(task, self.backend))
            return made[-1]

        lanes = Lanes(make)
        tree: Tree | None = None
        try:
            tree = await self.agent.explore_task(
                task,
                lanes,
                self.budget,
                seed=derive_seed(self.seed, task.id),
                stop=self.stop,
                # Attempts beyond a first success would be thrown away: none ahead of time then.
                slots=idle if self.stop == "budget" else None,
                observer=_Recorder(self.run, number),
                stored=self.run.branches(number),
            )
            self._note_backend(made)
            tree.spent.overhead_attempts += self.run.repeated(number)
            self.run.finished(number, tree)
        except EnvironmentFailure as error:
            lanes.close()
            self.run.finished(number, None, str(error))
        if self.progress is not None:
            self.progress(task, tree)

    def _note_backend(self, made: list[RollbackWrapper]) -> None:
        """Keep the choice in the run, so that a resumed one makes the same."""
        chosen = next((env for env in made if env.backend_report.chosen), None)
        if chosen is None or chosen.kind in self.noted:
            return
        self.noted.add(chosen.kind)
        self.run.note_backend(export_choice(chosen))


def _name(backend: str | Backend) -> str:
    return backend if isinstance(backend, str) else backend.name


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def make_env(task: Task, backend: str | Backend = "auto") -> RollbackWrapper:
    """The environment of a task, ready for an agent.

    Raises:
        EnvironmentFailure: if it cannot be made.
    """
    try:
        env: gym.Env[Any, Any] = gym.make(task.env_id, **dict(task.kwargs))
    except UsageError:
        raise
    except Exception as error:
        raise EnvironmentFailure(
            f"making {task.env_id}: {type(error).__name__}: {error}"
        ) from error
    return RollbackWrapper(env, backend=backend)


def run_config(
    agent: Agent,
    tasks: Sequence[Task],
    *,
    budget: Budget,
    seed: int,
    stop: Stop,
    backend: str | Backend,
) -> dict[str, Json]:
    """All that decides what a run holds; resuming compares it."""
    return {
        "agent": agent.config,
        "budget": asdict(budget),
        "seed": seed,
        "stop": stop,
        "backend": _name(backend),
        "tasks": checksum(dump([task_json(task) for task in tasks])),
        "version": version("leafe-gym"),
    }
