"""A thread of its own for one environment, so that it never blocks the event loop.

The thread is a daemon: one that hangs in a step does not keep the program from ending. All calls
of an environment are made in the same thread, its constructor and `close` included.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

from leafe_gym.errors import EnvironmentTimeout

T = TypeVar("T")
_NUMBERS = itertools.count(1)
_Work = tuple[asyncio.AbstractEventLoop | None, "asyncio.Future[Any] | None", Callable[[], Any]]


class EnvThread:
    """Runs calls one after the other in a daemon thread, started at the first."""

    def __init__(self) -> None:
        self._work: SimpleQueue[_Work | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    async def run(self, call: Callable[[], T], timeout: float | None) -> T:
        """The result of `call`, made in the thread.

        Args:
            call: without arguments; whatever it raises is raised here.
            timeout: seconds to wait; None for no limit.

        Raises:
            EnvironmentTimeout: if it does not return in time; the thread is lost then.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._submit((loop, future, call))
        if timeout is None:
            return await future
        alarm = loop.call_later(timeout, _expire, future, timeout)
        try:
            return await future
        finally:
            alarm.cancel()

    def post(self, call: Callable[[], Any]) -> None:
        """Queue `call` without waiting for it; what it raises is discarded."""
        self._submit((None, None, call))

    def stop(self) -> None:
        """End the thread after the calls that are queued."""
        if self._thread is not None:
            self._work.put(None)

    def _submit(self, work: _Work) -> None:
        if self._thread is None:
            name = f"leafe-env-{next(_NUMBERS)}"
            self._thread = threading.Thread(target=_serve, args=(self._work,), name=name)
            self._thread.daemon = True
            self._thread.start()
        self._work.put(work)


def _serve(queue: SimpleQueue[_Work | None]) -> None:
    while (work := queue.get()) is not None:
        loop, future, call = work
        result, error = None, None
        try:
            result = call()
        except BaseException as raised:  # noqa: BLE001 - passed to the caller
            error = raised
        if loop is not None and future is not None:
            with suppress(RuntimeError):  # the loop was closed while the call ran
                loop.call_soon_threadsafe(_settle, future, result, error)
        del work, call, future, result, error


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    elif isinstance(error, StopIteration):  # a future cannot hold one
        future.set_exception(RuntimeError(f"StopIteration: {error}"))
    else:
        future.set_exception(error)


def _expire(future: asyncio.Future[Any], timeout: float) -> None:
    if not future.done():
        future.set_exception(
            EnvironmentTimeout(f"a call into the environment did not return within {timeout:g} s")
        )
