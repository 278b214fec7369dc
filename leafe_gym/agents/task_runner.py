"""Exploring one task: dispatch attempts, commit them in canonical order, stop when it is over.

Attempts may run side by side. Those ahead of the one being committed are speculative: they are
cut or discarded where the canonical run would not have made them, so a tree is a function of the
seed and the policy's answers and never of timing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from leafe_gym.agents.accounting import Accounting
from leafe_gym.agents.config import AgentConfig
from leafe_gym.agents.env_pool import EnvPool
from leafe_gym.agents.plan import AttemptPlan, make_plan
from leafe_gym.agents.rollout import MAX_REASON, AttemptCost, Rollout
from leafe_gym.agents.snapshot_cache import SnapshotCache
from leafe_gym.errors import EnvironmentFailure, StoreCorrupt
from leafe_gym.policies.base import Policy
from leafe_gym.tree import Branch, Tree
from leafe_gym.types import ERRORS, Start

Stop = Literal["solved", "budget"]
ERRORS_IN_A_ROW = 10
"""This many attempts in a row that end in an error, or spend nothing in any limited unit, end the
exploring of a task, which stays open: no budget would end it."""
IDLE_ERRORS_IN_A_ROW = 3
"""Likewise for attempts that ended before their first step: in an error, or with a prompt that does
not fit into the window."""


class SlotCounter:
    """Room for attempts beyond the one that each task always has.

    Args:
        count: idle slots; 0 runs attempts one after the other.
    """

    def __init__(self, count: int = 0) -> None:
        self.count = count

    def take(self) -> bool:
        """Take a slot if one is idle."""
        if self.count <= 0:
            return False
        self.count -= 1
        return True

    def give(self) -> None:
        """Return a slot."""
        self.count += 1


class Observer(Protocol):
    """Receives the events of one task, in canonical order."""

    def opened(self, start: Start) -> None:
        """The environment was reset for the first time."""
        ...

    def began(self, number: int) -> None:
        """An attempt was dispatched."""
        ...

    def committed(self, branch: Branch) -> None:
        """A branch was added to the tree."""
        ...


class NullObserver:
    """An observer that ignores everything."""

    def opened(self, start: Start) -> None:
        """See `Observer.opened`."""

    def began(self, number: int) -> None:
        """See `Observer.began`."""

    def committed(self, branch: Branch) -> None:
        """See `Observer.committed`."""


@dataclass(slots=True)
class _Running:
    """One attempt under way."""

    plan: AttemptPlan
    extra: bool
    rollout: Rollout | None = None
    task: asyncio.Task[tuple[Branch, AttemptCost]] | None = None


@dataclass(slots=True)
class TaskRunner:
    """One task's exploration; `run` it once.

    Attributes:
        book: the task's tree and ledger, so far empty.
        policy: acts, and reflects where `reflect_policy` is None.
        pool: environment instances.
        stop: at the first success, or when the budget is used up.
        seed: all sampling seeds of the task derive from it.
        slots: room for speculative attempts.
        observer: told of every attempt and branch.
        reflect_policy: reflects and refines.
    """

    book: Accounting
    policy: Policy
    pool: EnvPool
    stop: Stop
    seed: int
    slots: SlotCounter = field(default_factory=SlotCounter)
    observer: Observer = field(default_factory=NullObserver)
    reflect_policy: Policy | None = None
    _snapshots: SnapshotCache = field(default_factory=SnapshotCache)
    _running: deque[_Running] = field(default_factory=deque)
    _next: int = 0
    _counted: int = 0
    _errors: int = 0
    _idle: int = 0

    @property
    def tree(self) -> Tree:
        """What has been committed so far."""
        return self.book.tree

    @property
    def config(self) -> AgentConfig:
        """How attempts are made."""
        return self.book.config

    async def replay(self, branches: Iterable[Branch]) -> None:
        """Take branches that an earlier process committed into tree and ledger.

        Raises:
            StoreCorrupt: if they are not what this agent would have made.
        """
        for branch in branches:
            plan = None if self.tree.stopped else self._plan()
            follows = (
                plan is not None
                and plan.begins(branch)
                and await self._commit(plan, branch, AttemptCost()) == branch
            )
            if not follows:
                raise StoreCorrupt(
                    f"stored branch {branch.id} of {self.tree.task.id} does not follow from the "
                    "branches before it"
                )
            if self.tree.stopped == "errors":  # another run tries again
                self.tree.stopped = ""
                self._errors = self._idle = 0

    async def run(self) -> None:
        """Grow the tree until it is solved (if asked for) or the budget is used up.

        Raises:
            PolicyUnavailable: if no model call can succeed.
            SandboxUnavailable: likewise for an environment's sandbox.
        """
        try:
            while not self.tree.stopped:
                self._dispatch()
                if not self._running:  # no attempt is open and the frontier has no more
                    self.tree.stopped = "attempts"
                    break
                first = self._running[0]
                assert first.task is not None
                branch, cost = await first.task
                self._running.popleft()
                self._free(first)
                committed = await self._commit(first.plan, branch, cost)
                if committed is not None:
                    self.observer.committed(committed)
        except BaseException:
            await self._abandon()
            self.pool.abandon()
            raise
        await self._abandon()
        self._snapshots.clear()
        await self.pool.close()

    def _plan(self) -> AttemptPlan | None:
        """The next attempt; None while it depends on one that is under way, or there is no more."""
        most = self.config.max_attempts
        if most is not None and self._counted + len(self._running) >= most:
            return None
        selection = self.book.frontier.ask(self._next)
        if selection is None:
            return None
        self._next += 1
        return make_plan(
            self._next - 1,
            selection,
            self.tree,
            self.config,
            reflection=self.book.frontier.reflection,
            capacity=self.book.frontier.capacity(self._next - 1, selection),
            limits=self.book.limits_of(selection),
            seed=self.seed,
        )

    async def _commit(self, plan: AttemptPlan, branch: Branch, cost: AttemptCost) -> Branch | None:
        before = self.book.progress()
        committed = await self.book.commit(plan, branch, cost)
        if committed is None or committed.ending == "budget":
            self.tree.stopped = "budget"
            return committed
        failed = committed.ending in ERRORS
        self._counted += not failed
        # Where a prompt fitted and attempts are limited, a full window is a failure like others.
        endless = self.config.max_attempts is None or not self.book.spent.act_calls
        stalled = failed or (endless and self.book.progress() == before)
        self._errors = self._errors + 1 if stalled else 0
        idle = not committed.steps and (failed or (endless and committed.ending == "context"))
        self._idle = self._idle + 1 if idle else 0
        if committed.won and self.stop == "solved":
            self.tree.stopped = "solved"
        elif self._errors >= ERRORS_IN_A_ROW or self._idle >= IDLE_ERRORS_IN_A_ROW:
            self.tree.stopped = "errors"
        return committed

    def _dispatch(self) -> None:
        """Start the next attempt, and more beside it while slots are idle."""
        while True:
            extra = bool(self._running)
            if extra and (len(self._running) >= self.book.attempts_left() or not self.slots.take()):
                return
            plan = self._plan()
            if plan is None:
                if extra:
                    self.slots.give()
                return
            self.observer.began(plan.id)
            running = _Running(plan, extra)
            running.task = asyncio.create_task(self._attempt(running))
            self._running.append(running)

    async def _attempt(self, running: _Running) -> tuple[Branch, AttemptCost]:
        plan = running.plan
        try:
            slot = await self.pool.take()
        except EnvironmentFailure as error:
            return plan.branch("env_error", str(error)[:MAX_REASON]), AttemptCost()
        rollout = Rollout(
            plan, slot, self.policy, self.book.prompts, self.config, self._snapshots,
            self.reflect_policy,
        )  # fmt: skip
        running.rollout = rollout
        try:
            branch, cost = await rollout.run()
        except BaseException:
            self.pool.drop(slot)
            raise
        if branch.ending in ("env_error", "backend_error"):
            self.pool.drop(slot)
        else:
            self.pool.give(slot)
        return branch, cost

    def _free(self, running: _Running) -> None:
        if running.extra:
            self.slots.give()

    async def _abandon(self) -> None:
        """Discard speculative attempts, and count what they had cost."""
        tasks = [running.task for running in self._running if running.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for running in self._running:
            self._free(running)
            if running.rollout is not None:
                self.book.discard(running.rollout.cost)
        self._running.clear()
