"""`explore`: many tasks, many attempts, one event loop, one resumable run folder.

Tasks begin in order, at most `concurrency` attempts at the same time. While tasks are waiting each
task runs its attempts one after the other; slots that fall idle at the end run further attempts
of the remaining tasks beside each other, ahead of time. The result does not depend on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from leafe_gym.agents.agent import Agent, check_run
from leafe_gym.agents.env_pool import EnvPool, make_env
from leafe_gym.agents.sync import run_blocking
from leafe_gym.agents.task_runner import SlotCounter
from leafe_gym.arguments import require_path
from leafe_gym.budget import Budget
from leafe_gym.errors import EnvironmentFailure, RunIncomplete, UsageError
from leafe_gym.exploration.config import ExploreConfig
from leafe_gym.seeds import derive_seed
from leafe_gym.store.reader import RunReader
from leafe_gym.store.writer import RunWriter
from leafe_gym.tree import Branch, Tree
from leafe_gym.types import Json, Start, Task
from leafe_gym.wrappers.verification.selection import export_choice, import_choice

Progress = Callable[[Task, Tree | None], None]
"""Called when a task is finished, with its tree, or None if it could not be explored."""

STALLED = (
    "attempts kept ending without spending anything of the budget, which would never be used up; "
    "limit interactions too"
)
HOPELESS = 8
"""This many tasks, none of which any attempt of the run could act on, end the run early."""


@dataclass(slots=True)
class _Recorder:
    """Writes one task's branches to the run as they are committed."""

    run: RunWriter
    task: int
    acted: bool = False
    reason: str = ""

    def opened(self, start: Start) -> None:
        self.run.record_opened(self.task, start)

    def began(self, number: int) -> None:
        self.run.record_began(self.task, number)

    def committed(self, branch: Branch) -> None:
        self.run.record_committed(self.task, branch)
        self.acted = self.acted or bool(branch.steps)
        self.reason = branch.reason or self.reason


def explore(
    agent: Agent,
    tasks: Sequence[Task],
    *,
    budget: Budget,
    out: str | Path,
    config: ExploreConfig | None = None,
    concurrency: int = 16,
    progress: Progress | None = None,
) -> RunReader:
    """Explore every task; the same call with the same `out` resumes, more tasks extend the run.

    Args:
        agent: how to explore.
        tasks: what to explore, for example `lg.tasks("leafe/Sokoban-v0", split="train")[:200]`.
        budget: of each task.
        out: the run folder.
        config: what else decides the content of the run.
        concurrency: attempts at the same time, >= 1; the result does not depend on it.
        progress: called when a task is finished.

    Returns:
        The finished run, open for reading.

    Raises:
        UsageError: for arguments that cannot be used, or a folder made with other ones.
        PolicyUnavailable: if no model call can succeed; nothing is recorded for the attempts that
            met it, and the same call goes on once it is mended.
        RunIncomplete: at the end, if tasks are open because their environment could not be started
            or their attempts kept failing; the same call tries them again.
        StoreError: if the folder cannot be written or read.
    """
    call = aexplore(
        agent, tasks, budget=budget, out=out, config=config, concurrency=concurrency,
        progress=progress,
    )  # fmt: skip
    return run_blocking(call, variant="aexplore")


async def aexplore(
    agent: Agent,
    tasks: Sequence[Task],
    *,
    budget: Budget,
    out: str | Path,
    config: ExploreConfig | None = None,
    concurrency: int = 16,
    progress: Progress | None = None,
) -> RunReader:
    """The asynchronous variant of `explore`."""
    config = config or ExploreConfig()
    _check(agent, tasks, config, out, progress)
    check_run(budget, concurrency)
    with RunWriter(out, run_identity(agent, budget=budget, config=config), tasks) as run:
        for env_id in dict.fromkeys(task.env_id for task in tasks):
            run.record_prompts(env_id, agent.prompts_for(env_id))
        engine = _Engine(agent, run, budget, config, progress)
        await engine.go(concurrency)
        engine.raise_if_open(len(tasks))
    return RunReader(out)


@dataclass(slots=True)
class _Engine:
    agent: Agent
    run: RunWriter
    budget: Budget
    config: ExploreConfig
    progress: Progress | None
    noted: set[str] = field(default_factory=set)
    open: dict[str, str] = field(default_factory=dict)
    acted: bool = False

    async def go(self, concurrency: int) -> None:
        """Finish every open task, as far as possible."""
        for choice in self.run.backends():
            import_choice(choice)
        tasks = self.run.open_tasks()
        waiting = iter(tasks)
        needed = min(concurrency, len(tasks))
        idle = SlotCounter(concurrency - needed)  # fills up as workers run out of tasks

        async def worker() -> None:
            for number, task in waiting:
                if not self.acted and len(self.open) >= HOPELESS:
                    self.open[task.id] = "not begun: every task before it failed"
                    continue
                await self._explore(number, task, idle)
            idle.give()

        workers = [asyncio.create_task(worker()) for _ in range(needed)]
        try:
            if workers:
                await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            failed = [w for w in workers if w.done() and not w.cancelled() and w.exception()]
            for one in workers:
                one.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        if failed:
            raise failed[0].exception() or AssertionError  # the others were cancelled
        for one in workers:
            one.result()

    def raise_if_open(self, count: int) -> None:
        """Do nothing if every task is finished.

        Raises:
            UsageError: if no attempt of this call could act at all.
            RunIncomplete: if some tasks are open.
        """
        if not self.open:
            return
        reasons: dict[str, list[str]] = {}
        for task, reason in self.open.items():
            reasons.setdefault(reason, []).append(task)
        shown = "; ".join(
            f"{names[0]}{f' and {len(names) - 1} more' if names[1:] else ''}: {reason}"
            for reason, names in list(reasons.items())[:3]
        )
        said = f"{len(self.open)} of {count} tasks could not be finished ({shown})"
        if not self.acted and len(self.open) == count:
            raise UsageError(f"{said}; no attempt of this run could act")
        raise RunIncomplete(
            f"{said}; what was committed is kept, and the same call tries them again", self.open
        )

    async def _explore(self, number: int, task: Task, idle: SlotCounter) -> None:
        pool = EnvPool(
            partial(make_env, task, self.config.backend),
            timeout=self.config.env_timeout,
            kind=task.env_id,
        )
        recorder = _Recorder(self.run, number)
        tree: Tree | None = None
        try:
            tree = await self.agent.explore_task(
                task,
                pool,
                self.budget,
                seed=derive_seed(self.config.seed, task.id),
                stop=self.config.stop,
                # Attempts beyond a first success would be discarded: none ahead of time then.
                slots=idle if self.config.stop == "budget" else None,
                observer=recorder,
                stored=self.run.branches(number),
            )
        except EnvironmentFailure as error:
            pool.abandon()
            self._leave_open(number, task, str(error))
        except BaseException:
            pool.abandon()
            raise
        else:
            self._note_backend(pool)
            self.acted = self.acted or recorder.acted or any(b.steps for b in tree.branches)
            if tree.stopped == "errors":
                self._leave_open(number, task, recorder.reason or STALLED)
                tree = None
            else:
                tree.spent.overhead_attempts += self.run.repeated(number)
                self.run.record_finished(number, tree)
        if self.progress is not None:
            self.progress(task, tree)

    def _leave_open(self, number: int, task: Task, reason: str) -> None:
        self.open[task.id] = reason
        self.run.record_failure(number, reason)

    def _note_backend(self, pool: EnvPool) -> None:
        """Keep the choice in the run, so that a resumed one makes the same."""
        chosen = next((env for env in pool.made if env.backend_report.chosen), None)
        if chosen is None or chosen.kind in self.noted:
            return
        self.noted.add(chosen.kind)
        self.run.record_backend(export_choice(chosen))


def _check(agent: Any, tasks: Any, config: Any, out: Any, progress: Any) -> None:
    if not isinstance(agent, Agent):
        raise UsageError(f"agent={agent!r}: expected an agent, such as ReflectiveTreeAgent(policy)")
    if not isinstance(config, ExploreConfig):
        raise UsageError(f"config={config!r}: expected an ExploreConfig")
    check_tasks(tasks)
    require_path("out", out)
    if progress is not None and not callable(progress):
        raise UsageError(f"progress={progress!r}: expected a function of (task, tree), or None")


def check_tasks(tasks: Any) -> None:
    """Raise a `UsageError` unless `tasks` is a sequence of tasks with distinct ids."""
    if isinstance(tasks, str | bytes) or not isinstance(tasks, Sequence):
        raise UsageError(f"tasks={tasks!r}: expected a list of Task, such as lg.tasks(...)[:100]")
    seen: set[str] = set()
    for task in tasks:
        if not isinstance(task, Task):
            raise UsageError(f"tasks holds {task!r}: expected a Task, such as those of lg.tasks")
        if task.id in seen:
            raise UsageError(f"tasks holds {task.id!r} twice: every task needs an id of its own")
        seen.add(task.id)


def run_identity(agent: Agent, *, budget: Budget, config: ExploreConfig) -> dict[str, Json]:
    """All that decides what a run holds, beside its tasks; resuming compares it."""
    explore_fields = config.as_dict()
    del explore_fields["env_timeout"]  # a limit on waiting, which does not decide the content
    return {
        "agent": agent.identity,
        "budget": budget.as_dict(),
        **explore_fields,
        "version": version("leafe-gym"),
    }
