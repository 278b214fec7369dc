"""SIGINT and SIGTERM: work is cancelled, files are closed, and no traceback is shown."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Coroutine
from types import FrameType
from typing import Any, NoReturn, TypeVar

from leafe_gym.agents.sync import PATIENCE

T = TypeVar("T")
MOST_REPEATS = 3
"""How often a signal is repeated, `PATIENCE` seconds apart, where work does not end."""


class Interrupted(KeyboardInterrupt):
    """Raised when a signal asked the command to end.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def raise_interrupted(number: int, _: FrameType | None) -> NoReturn:
    """A signal handler for code outside an event loop."""
    raise Interrupted(number)


def run(call: Coroutine[Any, Any, T]) -> T:
    """The result of `call`; a signal cancels it, and ends it if it does not react.

    Raises:
        Interrupted: after a SIGINT or SIGTERM.
    """
    return asyncio.run(_cancelled_by_signals(call))


async def _cancelled_by_signals(call: Coroutine[Any, Any, T]) -> T:
    task = asyncio.ensure_future(call)
    loop = asyncio.get_running_loop()
    main = threading.get_ident()
    ended = threading.Event()
    received: list[int] = []

    def insist(number: int) -> None:
        for _ in range(MOST_REPEATS):
            if ended.wait(PATIENCE):
                return
            signal.pthread_kill(main, number)

    def handle(number: int, _: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:  # the event loop is busy or blocked: interrupt what it runs
            raise Interrupted(received[0])
        loop.call_soon_threadsafe(task.cancel)
        threading.Thread(target=insist, args=(number,), daemon=True).start()

    loop.set_exception_handler(_quiet)
    # A shell script starts its background jobs with SIGINT ignored; they then react to SIGTERM.
    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        numbers.append(signal.SIGINT)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        return await task
    except asyncio.CancelledError:
        if received:
            raise Interrupted(received[0]) from None
        raise
    finally:
        ended.set()
        for number, handler in before.items():
            signal.signal(number, handler)


def _quiet(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Report what went wrong in the background, but not that it was interrupted."""
    if not isinstance(context.get("exception"), Interrupted):
        loop.default_exception_handler(context)
