"""`evaluate`: plain single rollouts, without reflection or rollback (paper: test time)."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafe_gym.agents.agent import IndependentSamplingAgent
from leafe_gym.agents.sync import run_blocking
from leafe_gym.budget import Budget
from leafe_gym.explore.engine import aexplore
from leafe_gym.errors import UsageError
from leafe_gym.evals.intervals import Interval
from leafe_gym.evals.passk import pass_curve
from leafe_gym.policies.base import Policy, PolicyFunction
from leafe_gym.policies.base import policy as named_policy
from leafe_gym.store.reader import RunReader
from leafe_gym.tree import Branch, Tree
from leafe_gym.types import Json, Task

ERRORS = ("env_error", "backend_error", "policy_error")
NO_LIMIT = 10**12
"""Calls: rollouts are counted here, not calls."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Rollouts of one policy, counted per task.

    Attributes:
        tasks: ids.
        wins: rollouts that won; [tasks].
        samples: rollouts that came to an end, won or lost; [tasks].
        errors: rollouts that environment or policy broke off. They count neither way; a task all
            of whose rollouts broke off has no samples and is in `broken`.
        broken: ids of tasks without samples.
        reasons: why, each said once.
    """

    tasks: tuple[str, ...]
    wins: NDArray[np.int64]
    samples: NDArray[np.int64]
    errors: int = 0
    broken: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()

    def pass_at(self, *ks: int) -> dict[int, Interval]:
        """Pass@k over the tasks, each with its 95 % interval.

        Raises:
            UsageError: if a task has fewer than k rollouts, or there is no task.
        """
        if not self.tasks:
            raise UsageError(f"no task has a finished rollout: {'; '.join(self.reasons)}")
        return pass_curve(self.wins, self.samples, ks)

    def as_dict(self) -> dict[str, Json]:
        """Counts as JSON."""
        return {
            "tasks": list(self.tasks),
            "wins": self.wins.tolist(),
            "samples": self.samples.tolist(),
            "errors": self.errors,
            "broken": list(self.broken),
            "reasons": list(self.reasons),
        }


def evaluate(
    policy: str | Policy | PolicyFunction,
    tasks: Sequence[Task],
    *,
    samples: int = 512,
    seed: int = 0,
    out: str | Path | None = None,
    concurrency: int = 64,
    progress: Callable[[Task, Tree | None], None] | None = None,
    **settings: Any,
) -> Evaluation:
    """Roll out `samples` times on each task; the same call with the same `out` resumes.

    Args:
        policy: what acts; a policy, a function, or a name for `leafe_gym.policy`.
        tasks: what to solve, usually a held-out split.
        samples: rollouts a task, >= 1.
        seed: from which all sampling seeds derive, together with task, rollout and step.
        out: run folder, kept; default a temporary one.
        concurrency: rollouts at the same time; changes nothing but the time it takes.
        progress: called when a task is finished.
        **settings: see `Settings`, such as `prompts`, `act_temperature`, `max_tokens`.

    Raises:
        UsageError: for settings or tasks that cannot be used.
        ConfigMismatch: if `out` holds a run of another configuration.
    """
    call = aevaluate(
        policy, tasks, samples=samples, seed=seed, out=out, concurrency=concurrency,
        progress=progress, **settings,
    )  # fmt: skip
    return run_blocking(call, variant="aevaluate")


async def aevaluate(
    policy: str | Policy | PolicyFunction,
    tasks: Sequence[Task],
    *,
    samples: int = 512,
    seed: int = 0,
    out: str | Path | None = None,
    concurrency: int = 64,
    progress: Callable[[Task, Tree | None], None] | None = None,
    **settings: Any,
) -> Evaluation:
    """The asynchronous variant of `evaluate`."""
    if not tasks:
        raise UsageError("there is no task to evaluate on")
    agent = IndependentSamplingAgent(named_policy(policy), attempts=samples, **settings)
    with (
        tempfile.TemporaryDirectory(prefix="leafe-eval-") as scratch,
        await aexplore(
            agent,
            tasks,
            budget=Budget(interactions=NO_LIMIT),
            out=Path(out) if out is not None else Path(scratch) / "run",
            concurrency=concurrency,
            seed=seed,
            stop="budget",
            progress=progress,
        ) as run,
    ):
        return count(run, tasks)


def count(
    run: RunReader, tasks: Sequence[Task], of: Callable[[Branch], bool] = lambda _: True
) -> Evaluation:
    """Wins and rollouts of each task of a run.

    Args:
        run: the run.
        tasks: what it was made on.
        of: which of its branches are the rollouts.
    """
    names: list[str] = []
    wins: list[int] = []
    samples: list[int] = []
    failed = [(tasks[number].id, error) for number, error, _ in run.outcomes() if error]
    broken = [name for name, _ in failed]
    reasons = dict.fromkeys(error for _, error in failed)
    errors = 0
    for tree in run.trees():
        rollouts = [branch for branch in tree.branches if of(branch)]
        ended = [branch for branch in rollouts if branch.ending not in ERRORS]
        errors += len(rollouts) - len(ended)
        reasons |= dict.fromkeys(b.reason for b in rollouts if b.ending in ERRORS)
        if not ended:
            broken.append(tree.task.id)
            continue
        names.append(tree.task.id)
        wins.append(sum(branch.won for branch in ended))
        samples.append(len(ended))
    return Evaluation(
        tasks=tuple(names),
        wins=np.array(wins, np.int64),
        samples=np.array(samples, np.int64),
        errors=errors,
        broken=tuple(broken),
        reasons=tuple(reasons),
    )
