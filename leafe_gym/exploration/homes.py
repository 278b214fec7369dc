"""Where workers live: the interface to the driver, and the home inside the driver itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from leafe_gym.exploration.jobs import Event, Setup, TaskJob
from leafe_gym.exploration.worker import Worker
from leafe_gym.types import Json


class WorkerHandle(Protocol):
    """One worker, as the driver sees it.

    Attributes:
        name: such as "process 4711"; for messages.
        place: the machine it runs on; "" for the driver's own.
        slots: most tasks at a time.
        running: the jobs under way, by task number; kept by the driver.
        lends: attempts ahead of time that it may run; kept by the driver.
    """

    name: str
    place: str
    slots: int
    running: dict[int, TaskJob]
    lends: int

    def submit(self, job: TaskJob) -> None:
        """Begin a job."""
        ...

    def give_idle(self, count: int) -> None:
        """Let `count` more attempts run ahead of time."""
        ...

    def choose(self, choice: dict[str, Json]) -> None:
        """Use a rollback backend that was chosen elsewhere."""
        ...

    async def close(self) -> None:
        """End the worker and all that it runs."""
        ...


OnEvent = Callable[[WorkerHandle, Event], None]
OnLost = Callable[[WorkerHandle, str], None]
"""A worker is gone: (worker, why)."""


class Home(Protocol):
    """Makes workers."""

    async def start(self, setup: Setup, on_event: OnEvent, on_lost: OnLost) -> list[WorkerHandle]:
        """The first workers, ready for jobs.

        Raises:
            UsageError: if the agent cannot be sent to them, or their versions differ.
            WorkerLost: if none could be started.
        """
        ...

    async def replace(self, lost: WorkerHandle) -> WorkerHandle | None:
        """A worker instead of a lost one; None if the run goes on without."""
        ...

    async def close(self) -> None:
        """End what is left."""
        ...


class _InlineHandle:
    """A worker in the driver's own event loop."""

    name = "driver"
    place = ""

    def __init__(self, setup: Setup, slots: int, on_event: OnEvent) -> None:
        self.slots = slots
        self.running: dict[int, TaskJob] = {}
        self.lends = 0
        self._worker = Worker(setup, lambda event: on_event(self, event))
        asyncio.get_running_loop().call_soon(self._worker.beat)

    def submit(self, job: TaskJob) -> None:
        self._worker.submit(job)

    def give_idle(self, count: int) -> None:
        self._worker.give_idle(count)

    def choose(self, choice: dict[str, Json]) -> None:
        """Nothing to do: the choice was made in this process."""

    async def close(self) -> None:
        await self._worker.close()


class InlineHome:
    """One worker inside the driver.

    Args:
        slots: attempts at the same time.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots

    async def start(self, setup: Setup, on_event: OnEvent, on_lost: OnLost) -> list[WorkerHandle]:
        """See `Home.start`."""
        return [_InlineHandle(setup, self._slots, on_event)]

    async def replace(self, lost: WorkerHandle) -> WorkerHandle | None:
        """Never needed: it ends with the driver."""
        return None

    async def close(self) -> None:
        """Nothing is left: its one worker is closed by the driver."""
