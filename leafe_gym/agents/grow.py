"""Exploring one task: dispatch attempts, commit them in canonical order, stop when it is over.

Attempts may run side by side. Those ahead of the one being committed are speculative: they are
cut or thrown away where the canonical run would not have made them, so a tree is a function of
the seed and the policy's answers and never of timing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from leafe_gym.agents.commit import commit, discard
from leafe_gym.agents.context import Context
from leafe_gym.agents.environment import Lanes
from leafe_gym.agents.frontier import Job
from leafe_gym.agents.rollout import Attempt, Rollout, allowance
from leafe_gym.agents.shelf import Shelf
from leafe_gym.errors import StoreCorrupt
from leafe_gym.tree import Branch
from leafe_gym.types import Start

Stop = Literal["solved", "budget"]
CRASHES_IN_A_ROW = 3
"""This many attempts in a row that end in an error before their first step end the exploring: no
budget would."""


class Slots(Protocol):
    """Room for attempts beyond the one each task always has."""

    def take(self) -> bool:
        """Take one if one is idle."""
        ...

    def give(self) -> None:
        """Hand one back."""
        ...


class Observer(Protocol):
    """Who is told what happens, in canonical order."""

    def opened(self, start: Start) -> None:
        """The environment was reset for the first time."""
        ...

    def began(self, job: Job) -> None:
        """An attempt was dispatched."""
        ...

    def committed(self, branch: Branch) -> None:
        """A branch was added to the tree."""
        ...


@dataclass(slots=True)
class NoSlots:
    """`count` idle slots of one's own; 0 runs attempts one after the other."""

    count: int = 0

    def take(self) -> bool:
        """See `Slots.take`."""
        if self.count <= 0:
            return False
        self.count -= 1
        return True

    def give(self) -> None:
        """See `Slots.give`."""
        self.count += 1


@dataclass(slots=True)
class Silent:
    """An observer that looks away."""

    def opened(self, start: Start) -> None:
        """Ignored."""

    def began(self, job: Job) -> None:
        """Ignored."""

    def committed(self, branch: Branch) -> None:
        """Ignored."""


@dataclass(slots=True)
class _Flight:
    """One attempt under way."""

    job: Job
    extra: bool
    rollout: Rollout | None = None
    running: asyncio.Task[Attempt] | None = None


@dataclass(slots=True)
class Growth:
    """One task's exploration; `run` it once.

    Attributes:
        ctx: the task, its tree so far empty.
        lanes: environment instances.
        stop: at the first success, or when the budget is used up.
        slots: room for speculative attempts.
        observer: told of every attempt and branch.
    """

    ctx: Context
    lanes: Lanes
    stop: Stop
    slots: Slots = field(default_factory=NoSlots)
    observer: Observer = field(default_factory=Silent)
    _shelf: Shelf = field(default_factory=Shelf)
    _flights: deque[_Flight] = field(default_factory=deque)
    _crashes: int = 0

    def replay(self, branches: Iterable[Branch]) -> None:
        """Take branches that an earlier process committed into tree and ledger.

        Raises:
            StoreCorrupt: if they are not what this agent would have made.
        """
        for branch in branches:
            job = self.ctx.frontier.ask()
            follows = (
                not self.ctx.tree.stopped
                and job is not None
                and (job.id, job.parent, job.experience, job.restart)
                == (branch.id, branch.parent, branch.experience, branch.restart)
                and self._commit(job, Attempt(branch)) == branch
            )
            if not follows:
                raise StoreCorrupt(
                    f"stored branch {branch.id} of {self.ctx.tree.task.id} does not follow from "
                    "the branches before it"
                )

    async def run(self) -> None:
        """Grow the tree until it is solved (if asked for) or the budget is used up."""
        try:
            while not self.ctx.tree.stopped:
                self._dispatch()
                if not self._flights:  # no attempt is open and the frontier has no more
                    self.ctx.tree.stopped = "attempts"
                    break
                flight = self._flights[0]
                assert flight.running is not None
                attempt = await flight.running
                self._land(self._flights.popleft())
                branch = self._commit(flight.job, attempt)
                if branch is not None:
                    self.observer.committed(branch)
        finally:
            await self._abandon()
            self._shelf.clear()
            self.lanes.close()

    def _commit(self, job: Job, attempt: Attempt) -> Branch | None:
        branch = commit(self.ctx, job, attempt)
        tree = self.ctx.tree
        tree.spent, tree.token_source = self.ctx.meter.spent, self.ctx.meter.token_source
        idle = branch is not None and branch.reason and not branch.steps
        self._crashes = self._crashes + 1 if idle else 0
        if branch is None or branch.ending == "budget":
            tree.stopped = "budget"
        elif branch.won and self.stop == "solved":
            tree.stopped = "solved"
        elif self._crashes >= CRASHES_IN_A_ROW:
            tree.stopped = "crashes"
        return branch

    def _dispatch(self) -> None:
        """Start the next attempt, and more beside it while slots are idle."""
        while True:
            extra = bool(self._flights)
            if extra and not self.slots.take():
                return
            job = self.ctx.frontier.ask()
            if job is None:
                if extra:
                    self.slots.give()
                return
            self.observer.began(job)
            flight = _Flight(job, extra)
            flight.running = asyncio.create_task(self._attempt(flight))
            self._flights.append(flight)

    async def _attempt(self, flight: _Flight) -> Attempt:
        job = flight.job
        try:
            env = self.lanes.take()
        except Exception as error:  # noqa: BLE001 - a stranger's constructor may raise anything
            branch = Branch(
                id=job.id,
                parent=job.parent,
                experience=job.experience,
                restart=job.restart,
                ending="env_error",
                reason=f"making the environment: {type(error).__name__}: {error}",
            )
            return Attempt(branch)
        flight.rollout = Rollout(self.ctx, self._shelf, job, env, allowance(self.ctx, job))
        try:
            attempt = await flight.rollout.run()
        except BaseException:
            self.lanes.drop(env)
            raise
        if attempt.branch.ending in ("env_error", "backend_error"):
            self.lanes.drop(env)
        else:
            self.lanes.give(env)
        return attempt

    def _land(self, flight: _Flight) -> None:
        if flight.extra:
            self.slots.give()

    async def _abandon(self) -> None:
        """Throw speculative attempts away, and count what they had cost."""
        running = [flight.running for flight in self._flights if flight.running is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for flight in self._flights:
            self._land(flight)
            if flight.rollout is not None:
                discard(self.ctx.meter.spent, flight.rollout)
        self._flights.clear()
