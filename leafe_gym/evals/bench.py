"""Stage-1 methods side by side: the same tasks, the same budget, one ledger (paper: Table 3).

A task ends at its first success, and what had been spent by then is known, so one run gives the
solved fraction at every smaller budget too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafe_gym.agents.agent import (
    Agent,
    IndependentSamplingAgent,
    IterativeRefinementAgent,
    ReflectiveTreeAgent,
)
from leafe_gym.budget import UNITS, Budget, Spend
from leafe_gym.explore.engine import aexplore
from leafe_gym.errors import UsageError
from leafe_gym.evals.intervals import Interval, paired_difference, verdict, wilson
from leafe_gym.policies.base import Policy
from leafe_gym.store.reader import RunReader
from leafe_gym.tree import Tree
from leafe_gym.types import Json, Task

Donors = tuple[tuple[str, str], ...]
Options = dict[str, Any]
MakeAgent = Callable[[Policy, Options, Options, Donors], Agent]
"""`f(policy, settings of all agents, settings of trees, donors)`"""

METHODS: dict[str, MakeAgent] = {
    "is": lambda policy, every, _, __: IndependentSamplingAgent(policy, **every),
    "ir": lambda policy, every, _, __: IterativeRefinementAgent(policy, **every),
    "ir-all": lambda policy, every, _, __: IterativeRefinementAgent(policy, memory="all", **every),
    "tree": lambda policy, every, tree, _: ReflectiveTreeAgent(policy, **every, **tree),
    "tree-random-tau": lambda policy, every, tree, _: ReflectiveTreeAgent(
        policy, tau="random", **every, **tree
    ),
    "tree-no-tip": lambda policy, every, tree, _: ReflectiveTreeAgent(
        policy, tip="withheld", **every, **tree
    ),
    "tree-random-tau-no-tip": lambda policy, every, tree, _: ReflectiveTreeAgent(
        policy, tau="random", tip="withheld", **every, **tree
    ),
    "tree-other-tip": lambda policy, every, tree, donors: ReflectiveTreeAgent(
        policy, tip="swapped", donors=donors, **every, **tree
    ),
}
"""Name -> agent. "is", "ir" and "tree" are the paper's samplers, the others controls that take
one part of the tree's mechanism away."""

TITLES = {
    "is": "independent sampling",
    "ir": "iterative refinement",
    "ir-all": "refinement, all tips so far",
    "tree": "rollback tree",
    "tree-random-tau": "tree, tau at random",
    "tree-no-tip": "tree, e withheld",
    "tree-random-tau-no-tip": "tree, tau at random, e withheld",
    "tree-other-tip": "tree, e of another task",
}


@dataclass(slots=True)
class Outcome:
    """What one method did on all tasks.

    Attributes:
        solved_at: per unit, spending at the first success, infinite where there was none; [tasks].
        used: per unit, spending in all; [tasks].
        ledger: the sum over tasks.
        token_sources: how tokens were counted.
        failed: tasks whose environment could not be explored; counted as unsolved.
    """

    solved_at: dict[str, NDArray[np.float64]]
    used: dict[str, NDArray[np.float64]]
    ledger: Spend
    token_sources: list[str]
    failed: int = 0

    @property
    def tasks(self) -> int:
        """How many tasks."""
        return int(self.used["calls"].size)

    def solved(self, unit: str, at: float) -> NDArray[np.float64]:
        """1.0 for every task solved within `at`, else 0.0; [tasks]."""
        return (self.solved_at[unit] <= at).astype(np.float64)

    def fraction(self, unit: str, at: float) -> Interval:
        """Solved fraction within `at`."""
        return wilson(int(self.solved(unit, at).sum()), self.tasks)


@dataclass(slots=True)
class Bench:
    """All methods on the same tasks at the same budget."""

    calls: int
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def level(self, unit: str) -> float:
        """The largest spending at which every method's solved fraction is known.

        The budget is in calls; tasks that ran out of it unsolved say nothing about success at more
        tokens than they had spent.
        """
        if unit == "calls":
            return float(self.calls)
        unsolved = [
            outcome.used[unit][np.isinf(outcome.solved_at[unit])].min(initial=np.inf)
            for outcome in self.outcomes.values()
        ]
        most = max(float(outcome.used[unit].max()) for outcome in self.outcomes.values())
        return float(min(*unsolved, most))

    def difference(self, ours: str, theirs: str, unit: str = "calls") -> Interval:
        """Solved fraction of one method minus another's, paired by task."""
        at = self.level(unit)
        mine, other = self.outcomes[ours], self.outcomes[theirs]
        return paired_difference(mine.solved(unit, at), other.solved(unit, at))

    def curve(self, method: str, unit: str, points: int = 60) -> list[tuple[float, Interval]]:
        """(spending, solved fraction) from nothing to the full budget."""
        top = self.level(unit)
        return [
            (float(at), self.outcomes[method].fraction(unit, at))
            for at in np.linspace(0, top, points + 1)
        ]

    def as_dict(self) -> dict[str, Json]:
        """All figures, for JSON."""
        methods: dict[str, Json] = {}
        for name, outcome in self.outcomes.items():
            methods[name] = {
                unit: outcome.fraction(unit, self.level(unit)).as_dict() for unit in UNITS
            }
            methods[name]["ledger"] = outcome.ledger.as_dict()
            methods[name]["token_source"] = ", ".join(outcome.token_sources)
            methods[name]["failed_tasks"] = outcome.failed
            methods[name]["curve"] = {
                unit: [[at, *i.as_dict().values()] for at, i in self.curve(name, unit)]
                for unit in UNITS
            }
        gaps = {
            f"{ours}_minus_{theirs}": {unit: self._gap(ours, theirs, unit) for unit in UNITS}
            for ours in self.outcomes
            for theirs in self.outcomes
            if ours != theirs and ours == "tree"
        }
        return {
            "budget": {"calls": self.calls} | {unit: self.level(unit) for unit in UNITS[1:]},
            "tasks": next(iter(self.outcomes.values())).tasks,
            "methods": methods,
            "differences": gaps,
        }

    def _gap(self, ours: str, theirs: str, unit: str) -> Json:
        gap = self.difference(ours, theirs, unit)
        return gap.as_dict() | {"verdict": verdict(gap)}


async def run_bench(
    policy: Policy,
    tasks: Sequence[Task],
    *,
    methods: Sequence[str],
    calls: int,
    out: Path,
    concurrency: int = 16,
    seed: int = 0,
    every: Options | None = None,
    tree: Options | None = None,
    progress: Callable[[str, Task, Tree | None], None] | None = None,
) -> Bench:
    """Run `methods` one after the other, each in a run folder of its own under `out`.

    Args:
        policy: acts and reflects for all of them.
        tasks: what to solve.
        methods: names of `METHODS`; with "tree-other-tip", "tree" must come before it.
        calls: budget of each task.
        out: run folders go here; the same call resumes.
        concurrency: attempts at the same time.
        seed: from which all sampling seeds derive.
        every: settings of all agents, such as the prompt set.
        tree: further keyword arguments of `ReflectiveTreeAgent`.
        progress: called with (method, task, tree) when a task is finished.

    Raises:
        UsageError: for an unknown method, or no tasks.
        StoreError: if a run folder cannot be written.
    """
    check_methods(methods)
    if not tasks:
        raise UsageError("there is no task to compare methods on")
    bench = Bench(calls)
    donors: Donors = ()
    for name in methods:
        agent = METHODS[name](policy, dict(every or {}), dict(tree or {}), donors)
        with await aexplore(
            agent,
            tasks,
            budget=Budget(interactions=calls),
            out=out / name,
            concurrency=concurrency,
            seed=seed,
            stop="solved",
            progress=partial(progress, name) if progress else None,
        ) as run:
            bench.outcomes[name] = read_outcome(run)
            if name == "tree":
                donors = collect_donors(run)
    return bench


def check_methods(methods: Sequence[str]) -> None:
    """Raise a `UsageError` that names what is wrong with a list of methods."""
    for name in methods:
        if name not in METHODS:
            raise UsageError(f"no method is called {name!r}; there are: {', '.join(METHODS)}")
    if len(set(methods)) != len(methods) or not methods:
        raise UsageError("name at least one method, and each once")
    if "tree-other-tip" in methods and "tree" not in methods[: methods.index("tree-other-tip")]:
        raise UsageError("tree-other-tip takes its tips from tree: name tree before it")


def read_outcome(run: RunReader) -> Outcome:
    """The figures of a finished run."""
    spends: list[Spend] = []
    firsts: list[Spend | None] = []
    sources: set[str] = set()
    failed = 0
    for _, error, result in run.outcomes():
        failed += bool(error)
        sources |= set() if error else {result["token_source"]}
        spends.append(Spend() if error else Spend.from_dict(result["spent"]))
        first = None if error else result["solved_at"]
        firsts.append(Spend.from_dict(first) if first else None)
    return Outcome(
        solved_at={
            unit: np.array([getattr(f, unit) if f else np.inf for f in firsts], np.float64)
            for unit in UNITS
        },
        used={unit: np.array([getattr(s, unit) for s in spends], np.float64) for unit in UNITS},
        ledger=sum(spends, Spend()),
        token_sources=sorted(sources),
        failed=failed,
    )


def collect_donors(run: RunReader) -> Donors:
    """(task id, e) of every branch of a run's trees."""
    return tuple(
        (tree.task.id, branch.experience.text)
        for tree in run.trees()
        for branch in tree.branches
        if branch.experience is not None
    )
