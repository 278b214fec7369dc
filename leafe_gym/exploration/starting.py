"""Starting workers: how many attempts each runs, and what happens when one does not start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Protocol

from leafe_gym.exploration.driver_end import WorkerLost
from leafe_gym.exploration.homes import WorkerHandle

STARTS = 3
"""Workers that may be lost one after the other while they start, before their place is given up."""


def slots_of(concurrency: int, workers: int) -> list[int]:
    """Attempts at the same time of each worker; they add up to `concurrency`."""
    whole, rest = divmod(concurrency, workers)
    return [whole + (number < rest) for number in range(workers)]


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
