"""The driver's end of a link: one worker outside this process, as the driver sees it."""

from __future__ import annotations

import asyncio
import pickle
from contextlib import suppress
from typing import Any

from leafe_gym.errors import LeafeError, PolicyError, UsageError
from leafe_gym.exploration.homes import OnEvent, OnLost
from leafe_gym.exploration.jobs import TaskJob
from leafe_gym.exploration.link import Send, check_versions, frame, sendable
from leafe_gym.exploration.remote_policy import PolicyServer
from leafe_gym.types import Completion, Json

START_SECONDS = 120.0
"""Longest time a worker may take to start."""
SILENCE_SECONDS = 300.0
"""A worker that says nothing for so long is given up."""


class WorkerLost(LeafeError):
    """Raised when a worker could not be started."""


class DriverEnd:
    """The driver's end of the link to one worker; a `WorkerHandle`.

    Args:
        name: of the worker, for messages.
        slots: most tasks at a time.
        send: takes a frame to the worker.
        server: answers its calls.
        on_event: receives its events.
        on_lost: told when the worker is gone.
    """

    def __init__(
        self,
        name: str,
        slots: int,
        send: Send,
        server: PolicyServer,
        on_event: OnEvent,
        on_lost: OnLost,
    ) -> None:
        self.name, self.slots = name, slots
        self.place = ""  # until it is ready
        self.running: dict[int, TaskJob] = {}
        self.lends = 0
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.heard = asyncio.get_running_loop().time()
        self._send, self._server, self._on_event = send, server, on_event
        self._on_lost = on_lost
        self._closing = False
        self._calls: dict[int, asyncio.Task[Completion]] = {}

    async def started(self) -> None:
        """Wait until the worker takes jobs; one that never does is closed.

        Raises:
            UsageError: if its versions differ.
            WorkerLost: if it does not start.
        """
        try:
            async with asyncio.timeout(START_SECONDS):
                await self.ready
        except UsageError:
            await self.close()
            raise
        except TimeoutError:
            await self.close()
            raise WorkerLost(
                f"{self.name} did not start within {START_SECONDS:g} s: is there a free CPU, and "
                "leafe-gym on its machine?"
            ) from None

    def submit(self, job: TaskJob) -> None:
        """See `WorkerHandle.submit`."""
        self._send(frame("job", job))

    def give_idle(self, count: int) -> None:
        """See `WorkerHandle.give_idle`."""
        self._send(frame("idle", count))

    def choose(self, choice: dict[str, Json]) -> None:
        """See `WorkerHandle.choose`."""
        self._send(frame("choice", choice))

    async def close(self) -> None:
        """Cancel the worker's calls; a subclass ends the worker."""
        self._closing = True
        calls = list(self._calls.values())
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    def receive(self, data: bytes) -> None:
        """Take a frame from the worker, in the event loop's thread.

        What arrives after the worker was given up is ignored: its tasks are elsewhere then.
        """
        if self._closing:
            return
        kind, *values = pickle.loads(data)
        self.heard = asyncio.get_running_loop().time()
        match kind:
            case "event":
                with suppress(Exception):  # the driver has noted it, and ends the run
                    self._on_event(self, values[0])
            case "ask":
                number, policy, messages, sampling = values
                self._calls[number] = self._server.start(
                    policy, messages, sampling, lambda task: self._answered(number, task)
                )
            case "cancel":
                if (call := self._calls.get(values[0])) is not None:
                    call.cancel()
            case "call":
                self._answer_at_once(*values)
            case "ready":
                self._is_ready(*values)

    def _lost(self, why: str) -> None:
        """Say that the worker is gone, once, and not while it is being closed."""
        if self._closing:
            return
        self._closing = True
        for call in self._calls.values():
            call.cancel()
        if not self.ready.done():
            self.ready.set_exception(WorkerLost(f"{self.name} did not start: {why}"))
        self._on_lost(self, why)

    def _is_ready(self, theirs: dict[str, str], host: str) -> None:
        if self.ready.done():
            return
        self.place = host
        try:
            check_versions(theirs, self.name)
        except UsageError as error:
            self.ready.set_exception(error)
        else:
            self.ready.set_result(None)

    def _answered(self, number: int, task: asyncio.Task[Completion]) -> None:
        self._calls.pop(number, None)
        if task.cancelled():
            self._send(frame("reply", number, False, PolicyError("the call was cancelled")))
        elif (error := task.exception()) is not None:
            self._send(frame("reply", number, False, sendable(error)))
        else:
            self._send(frame("reply", number, True, task.result()))

    def _answer_at_once(
        self, number: int, policy: str, method: str, arguments: tuple[Any, ...]
    ) -> None:
        try:
            value = self._server.call(policy, method, arguments)
        except Exception as error:  # noqa: BLE001 - the worker raises it
            self._send(frame("result", number, False, sendable(error)))
        else:
            self._send(frame("result", number, True, value))
