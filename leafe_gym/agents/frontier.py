"""Which attempt comes next. Ask and tell, without environment or model.

Canonical order is that of the sequential run. `ask` may be called again before an earlier answer
has been told, to run attempts side by side; because queues are first in, first out, what it gives
is what the sequential run would have given. `tell` is called in canonical order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from leafe_gym.types import Experience

LookBack = Literal["none", "reflect", "refine"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One attempt to make.

    Attributes:
        id: the number its branch will have.
        root: number of the first attempt of its root.
        depth: rollbacks between it and the root; 0 for a root.
        parent: the branch it answers; None for a root.
        experience: tau and e; None for a root.
        restart: begins at step 0 with an empty history although it has a parent.
    """

    id: int
    root: int
    depth: int = 0
    parent: int | None = None
    experience: Experience | None = None
    restart: bool = False


class Frontier(Protocol):
    """The order of attempts of one method."""

    look_back: LookBack

    def ask(self) -> Job | None:
        """The next attempt; None while it depends on one that has not been told."""
        ...

    def tell(self, job: Job, experiences: Sequence[Experience]) -> None:
        """What looking back on an attempt gave, in order."""
        ...

    def room(self, job: Job, pending: int) -> bool:
        """Whether a branch opened from `job` could still run, after `pending` others from it.

        Before all earlier jobs have been told the answer may be yes too often, never too seldom.
        """
        ...


class IndependentFrontier:
    """Whole attempts from step 0, each on its own (paper: independent sampling).

    Args:
        attempts: how many; None for no limit.
    """

    look_back: LookBack = "none"

    def __init__(self, attempts: int | None = None) -> None:
        self._next = 0
        self._attempts = attempts

    def ask(self) -> Job | None:
        """Another root, until the attempts are used up."""
        if self._next == self._attempts:
            return None
        self._next += 1
        return Job(id=self._next - 1, root=self._next - 1)

    def tell(self, job: Job, experiences: Sequence[Experience]) -> None:
        """Nothing follows from an attempt."""

    def room(self, job: Job, pending: int) -> bool:
        """Nothing is opened from an attempt."""
        return False


class ChainFrontier:
    """Each attempt from step 0, told what went wrong in the last (paper: iterative refinement)."""

    look_back: LookBack = "refine"

    def __init__(self) -> None:
        self._ready: Job | None = Job(id=0, root=0)

    def ask(self) -> Job | None:
        """The next attempt, once the last one has been told."""
        job, self._ready = self._ready, None
        return job

    def tell(self, job: Job, experiences: Sequence[Experience]) -> None:
        """Queue the attempt after `job`; without an experience it is a plain new attempt."""
        number = job.id + 1
        if experiences:
            self._ready = Job(
                id=number,
                root=job.root,
                depth=job.depth + 1,
                parent=job.id,
                experience=experiences[0],
                restart=True,
            )
        else:
            self._ready = Job(id=number, root=number)

    def room(self, job: Job, pending: int) -> bool:
        """One refinement an attempt."""
        return pending == 0


class TreeFrontier:
    """Breadth first over reflections (paper: Algorithm 1).

    When the queue is empty or a root's attempts are used up, a new root begins. A look back whose
    branch could never run is not asked for (`room`); the ledger counts it as dropped.

    Args:
        max_depth: deepest branch, in rollbacks from its root; >= 0.
        attempts: attempts per root, the root included; >= 1.
    """

    look_back: LookBack = "reflect"

    def __init__(self, *, max_depth: int, attempts: int) -> None:
        self._max_depth = max_depth
        self._attempts = attempts
        self._queue: deque[tuple[Job, Experience]] = deque()
        self._next = 0
        self._root = 0
        self._asked = 0
        self._outstanding = 0

    def ask(self) -> Job | None:
        """The oldest queued branch, or a new root once nothing more can come from this one."""
        if self._asked and self._queue and self._asked < self._attempts:
            parent, experience = self._queue.popleft()
            job = Job(
                id=self._next,
                root=self._root,
                depth=parent.depth + 1,
                parent=parent.id,
                experience=experience,
            )
        elif self._outstanding:
            return None
        else:
            # Empty: `room` let in no more than could run.
            self._root, self._asked = self._next, 0
            job = Job(id=self._next, root=self._next)
        self._next += 1
        self._asked += 1
        self._outstanding += 1
        return job

    def tell(self, job: Job, experiences: Sequence[Experience]) -> None:
        """Queue one branch per experience."""
        self._outstanding -= 1
        self._queue.extend((job, experience) for experience in experiences)

    def room(self, job: Job, pending: int) -> bool:
        """Whether depth and attempts leave room for one more branch of this root."""
        taken = self._asked + len(self._queue) + pending
        return job.depth < self._max_depth and taken < self._attempts
