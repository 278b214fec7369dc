"""`evaluate`: plain single rollouts, without reflection or rollback (paper: test time)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leafe_gym._scratch import scratch_folder
from leafe_gym.agents.agent import Agent
from leafe_gym.agents.sync import run_blocking
from leafe_gym.arguments import require_instance, require_path, whole_number
from leafe_gym.budget import Budget
from leafe_gym.errors import RunIncomplete, UsageError
from leafe_gym.evals.config import EvalConfig
from leafe_gym.evals.intervals import Interval
from leafe_gym.evals.passk import pass_curve
from leafe_gym.evals.samplers import make_agent
from leafe_gym.exploration.driver import Progress
from leafe_gym.exploration.engine import aexplore, check_tasks
from leafe_gym.policies.base import Policy, PolicyFunction
from leafe_gym.policies.base import policy as named_policy
from leafe_gym.store.reader import RunReader
from leafe_gym.tree import Branch
from leafe_gym.types import ERRORS, Json, Task

MOST_SAMPLES = 10**7
"""A larger number of rollouts a task is taken for an error."""
NO_LIMIT = 10**12
"""Interactions: the number of rollouts is the limit of an evaluation, not the budget."""
SHOWN = 5
"""Tasks that a message names at most."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Rollouts of one policy, counted per task.

    Attributes:
        tasks: ids.
        wins: rollouts that won; int64, shape [tasks].
        samples: rollouts that ended, won or lost; int64, shape [tasks].
        asked: rollouts asked for per task, >= 1.
        errors: rollouts that the environment or policy broke off; they count neither way.
        reasons: the distinct reasons of those errors.
        context: rollouts that were lost because the model's context window was full.
    """

    tasks: tuple[str, ...]
    wins: NDArray[np.int64]
    samples: NDArray[np.int64]
    asked: int
    errors: int = 0
    reasons: tuple[str, ...] = ()
    context: int = 0

    @property
    def missing(self) -> dict[str, int]:
        """Task -> rollouts that it lacks; tasks that are complete are left out."""
        lacking = (self.asked - self.samples).tolist()
        return {task: n for task, n in zip(self.tasks, lacking, strict=True) if n > 0}

    def pass_at(self, *ks: int) -> dict[int, Interval]:
        """Pass@k over all tasks, each with its 95 % interval over tasks.

        For a task with c wins in n rollouts the unbiased estimate 1 - C(n - c, k) / C(n, k) of
        Chen et al. (arXiv 2107.03374); then the mean over tasks.

        Args:
            *ks: each from 1 to `asked`.

        Returns:
            k -> mean, low and high, each 0 to 1.

        Raises:
            UsageError: if a task lacks rollouts (an average without it, or without its errors,
                would be of other tasks than asked for), if k > `asked`, or without a task.
        """
        for k in ks:
            whole_number("k", k, low=1)
        missing = self.missing
        if missing:
            named = [f"{task} lacks {n} of {self.asked}" for task, n in missing.items()]
            more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
            raise UsageError(
                f"Pass@k is over {self.asked} rollouts of every task, and rollouts are missing: "
                f"{'; '.join(named[:SHOWN])}{more}. Reasons: {'; '.join(self.reasons)}. "
                "Fix the cause and run the same command again"
            )
        return pass_curve(self.wins, self.samples, ks)

    def as_dict(self) -> dict[str, Json]:
        """Counts as JSON."""
        return {
            "tasks": list(self.tasks),
            "wins": self.wins.tolist(),
            "samples": self.samples.tolist(),
            "asked": self.asked,
            "missing": self.missing,
            "errors": self.errors,
            "reasons": list(self.reasons),
            "context": self.context,
        }


def evaluate(
    policy: str | Policy | PolicyFunction,
    tasks: Sequence[Task],
    *,
    samples: int = 512,
    seed: int = 0,
    config: EvalConfig = EvalConfig(),  # noqa: B008 - frozen
    out: str | Path | None = None,
    concurrency: int = 64,
    workers: int = 0,
    ray: str | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Roll out `samples` times on each task; the same call with the same `out` resumes.

    Args:
        policy: what acts; a policy, a function, or a name for `leafe_gym.policy`.
        tasks: what to solve, usually a held-out split.
        samples: rollouts a task, >= 1.
        seed: all sampling seeds derive from it, together with task, rollout and turn.
        config: how a rollout is sampled.
        out: run folder, kept; default a temporary one.
        concurrency: rollouts at the same time; changes nothing but the time it takes.
        workers: processes that roll out, see `explore`.
        ray: a cluster that rolls out, see `explore`.
        progress: called when a task is finished.

    Returns:
        Rollouts counted for each task; `pass_at(k)` of it is Pass@k.

    Raises:
        UsageError: for a configuration or tasks that cannot be used.
        ConfigMismatch: if `out` holds a run of another configuration.
        PolicyUnavailable: if no model call can succeed.
        StoreError: if `out` cannot be written or read.

    Example:
        >>> import leafe_gym as lg
        >>> tasks = lg.tasks("leafe/Sokoban-v0", split="test", size=6, boxes=1)[:2]
        >>> result = evaluate("scripted", tasks, samples=2)
        >>> sorted(result.pass_at(1, 2)), result.samples.tolist()
        ([1, 2], [2, 2])
    """
    call = aevaluate(
        policy, tasks, samples=samples, seed=seed, config=config, out=out,
        concurrency=concurrency, workers=workers, ray=ray, progress=progress,
    )  # fmt: skip
    return run_blocking(call, variant="aevaluate")


async def aevaluate(
    policy: str | Policy | PolicyFunction,
    tasks: Sequence[Task],
    *,
    samples: int = 512,
    seed: int = 0,
    config: EvalConfig = EvalConfig(),  # noqa: B008 - frozen
    out: str | Path | None = None,
    concurrency: int = 64,
    workers: int = 0,
    ray: str | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """The asynchronous variant of `evaluate`, with its arguments, result and errors."""
    require_instance("config", config, EvalConfig)
    whole_number("samples", samples, low=1, high=MOST_SAMPLES)
    whole_number("seed", seed, low=0)
    check_tasks(tasks)
    if not tasks:
        raise UsageError("there is no task to evaluate on")
    agent = make_agent("is", named_policy(policy), config.for_agent(samples))
    with scratch_folder("eval") as scratch:
        folder = require_path("out", out) if out is not None else Path(scratch) / "run"
        with await roll_out(
            agent,
            tasks,
            config,
            folder,
            seed=seed,
            concurrency=concurrency,
            workers=workers,
            ray=ray,
            progress=progress,
        ) as run:
            return count_rollouts(run, tasks, samples)


async def roll_out(
    agent: Agent,
    tasks: Sequence[Task],
    config: EvalConfig,
    folder: Path,
    *,
    seed: int,
    concurrency: int,
    workers: int = 0,
    ray: str | None = None,
    progress: Progress | None,
) -> RunReader:
    """All rollouts of an agent that limits their number itself; some may be missing.

    Raises:
        UsageError: if no rollout could act at all.
    """
    try:
        return await aexplore(
            agent,
            tasks,
            budget=Budget(interactions=NO_LIMIT),
            out=folder,
            config=config.for_exploring(seed),
            concurrency=concurrency,
            workers=workers,
            ray=ray,
            progress=progress,
        )
    except RunIncomplete:
        return RunReader(folder)


def count_rollouts(
    run: RunReader, tasks: Sequence[Task], asked: int, of: Callable[[Branch], bool] = lambda _: True
) -> Evaluation:
    """Wins and rollouts of each task of a run.

    Args:
        run: the run.
        tasks: the tasks it was made on.
        asked: rollouts asked for per task.
        of: which of its branches are the rollouts.
    """
    wins = dict.fromkeys((task.id for task in tasks), 0)
    samples = dict(wins)
    reasons = dict.fromkeys(run.failures().values())
    errors = context = 0
    for number, task in enumerate(tasks):
        for branch in filter(of, run.branches(number)):
            if branch.ending in ERRORS:
                errors += 1
                reasons[branch.reason] = None
            else:
                samples[task.id] += 1
                wins[task.id] += branch.won
                context += branch.ending == "context"
    return Evaluation(
        tasks=tuple(wins),
        wins=np.array(list(wins.values()), np.int64),
        samples=np.array(list(samples.values()), np.int64),
        asked=asked,
        errors=errors,
        reasons=tuple(reasons),
        context=context,
    )
