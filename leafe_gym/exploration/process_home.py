"""Workers in processes of their own on this machine."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, Protocol

from leafe_gym.errors import LeafeError, UsageError
from leafe_gym.exploration.homes import OnEvent, OnLost, WorkerHandle
from leafe_gym.exploration.jobs import Event, Setup
from leafe_gym.exploration.link import DriverEnd, frame, pack_setup, search_path
from leafe_gym.exploration.remote_policy import PolicyServer, agent_for_workers

START_SECONDS = 120.0
"""Longest time a worker may take to start."""
SILENCE_SECONDS = 300.0
"""A worker that says nothing for so long is given up."""
CLOSE_SECONDS = 3.0
"""Longest time a worker may take to end before it is killed."""
STARTS = 3
"""Workers that may be lost one after the other while they start, before their place is given up."""
PROGRAM = (
    "import sys; sys.path[:] = {path!r}; "
    "from leafe_gym.exploration.worker_process import main; main({descriptor})"
)


class WorkerLost(LeafeError):
    """Raised when a worker could not be started."""


class ProcessHandle(DriverEnd):
    """One worker process."""

    def __init__(
        self,
        slots: int,
        setup: bytes,
        server: PolicyServer,
        on_event: Callable[[Any, Event], None],
        on_lost: OnLost,
    ) -> None:
        ours, theirs = Pipe()
        program = PROGRAM.format(path=search_path(), descriptor=theirs.fileno())
        self._process = subprocess.Popen(
            [sys.executable, "-c", program],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        self._link = ours
        self._loop = asyncio.get_running_loop()
        self._on_lost = on_lost
        self._closing = False
        super().__init__(f"worker process {self._process.pid}", slots, self._put, server, on_event)
        self._put(setup)
        threading.Thread(target=self._read, args=(ours,), daemon=True).start()
        self._watch = self._loop.call_later(SILENCE_SECONDS, self._check)

    async def started(self) -> None:
        """Wait until the worker takes jobs.

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
            raise WorkerLost(f"{self.name} did not start within {START_SECONDS:g} s") from None

    async def close(self) -> None:
        """End the process, kindly at first."""
        self._closing = True
        self._watch.cancel()
        await super().close()
        self._put(frame("close"))
        try:
            await asyncio.to_thread(self._process.wait, CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
        self._link.close()

    def _put(self, data: bytes) -> None:
        with suppress(OSError):  # it is gone; the reader notices
            self._link.send_bytes(data)

    def _read(self, link: Connection) -> None:
        """Hand frames to the event loop, until the worker is gone."""
        with suppress(RuntimeError):  # the loop has ended
            try:
                while True:
                    self._loop.call_soon_threadsafe(self.receive, link.recv_bytes())
            except (EOFError, OSError):
                self._loop.call_soon_threadsafe(self._gone)

    def _gone(self) -> None:
        if self._closing:
            return
        self._closing = True
        self._watch.cancel()
        why = "it closed its link"
        try:
            why = f"exit status {self._process.wait(1.0)}"
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._link.close()
        for call in self._calls.values():
            call.cancel()
        if not self.ready.done():
            self.ready.set_exception(WorkerLost(f"{self.name} did not start: {why}"))
        self._on_lost(self, why)

    def _check(self) -> None:
        left = self.heard + SILENCE_SECONDS - self._loop.time()
        if left > 0:
            self._watch = self._loop.call_later(left, self._check)
        else:
            self._process.kill()  # the reader reports the loss


class ProcessHome:
    """Processes on this machine.

    Args:
        workers: number of processes, >= 1.
        concurrency: attempts at the same time, over all of them.
    """

    def __init__(self, workers: int, concurrency: int) -> None:
        self._make: Callable[[int], ProcessHandle]
        self._slots = [
            concurrency // workers + (number < concurrency % workers) for number in range(workers)
        ]

    async def start(self, setup: Setup, on_event: OnEvent, on_lost: OnLost) -> list[WorkerHandle]:
        """See `Home.start`."""
        server = PolicyServer(setup.agent)
        sent = replace(setup, agent=await agent_for_workers(setup.agent, len(self._slots)))
        packed = pack_setup(sent)

        def make(slots: int) -> ProcessHandle:
            return ProcessHandle(slots, packed, server, on_event, on_lost)

        self._make = make
        return await start_all([start_one(make, slots) for slots in self._slots])

    async def replace(self, lost: WorkerHandle) -> WorkerHandle | None:
        """See `Home.replace`."""
        return await start_one(self._make, lost.slots)

    async def close(self) -> None:
        """See `Home.close`; the driver has closed every worker."""


class Starting(WorkerHandle, Protocol):
    """A worker that is not ready yet."""

    async def started(self) -> None:
        """Wait until it is; raises `WorkerLost` if it never is."""
        ...


async def start_one(make: Callable[[int], Starting], slots: int) -> WorkerHandle:
    """A worker that is ready; one that is lost while it starts is replaced, `STARTS` times.

    Raises:
        UsageError: if its versions differ.
        WorkerLost: if none starts.
    """
    for _ in range(STARTS - 1):
        with suppress(WorkerLost):
            handle = make(slots)
            await handle.started()
            return handle
    handle = make(slots)
    await handle.started()
    return handle


async def start_all(starting: Sequence[Coroutine[Any, Any, WorkerHandle]]) -> list[WorkerHandle]:
    """All workers, once they are ready; if one is not to be had, none is left.

    Raises:
        LeafeError: the first reason.
    """
    results = await asyncio.gather(*starting, return_exceptions=True)
    failed = [one for one in results if isinstance(one, BaseException)]
    handles = [one for one in results if not isinstance(one, BaseException)]
    if failed:
        await asyncio.gather(*(handle.close() for handle in handles), return_exceptions=True)
        raise failed[0]
    return handles
