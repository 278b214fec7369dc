"""SIGINT and SIGTERM: work is cancelled, files are closed, and no traceback is shown."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from types import FrameType
from typing import Any, NoReturn, TypeVar

from leafe_gym.agents.sync import ends_at_interrupt

T = TypeVar("T")


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
    """The result of `call`; SIGTERM cancels it as SIGINT does.

    Raises:
        KeyboardInterrupt: after a SIGINT; `Interrupted` after a SIGTERM.
    """
    return asyncio.run(ends_at_interrupt(_cancel_at_sigterm(call)))


async def _cancel_at_sigterm(call: Coroutine[Any, Any, T]) -> T:
    task = asyncio.ensure_future(call)
    asked: list[int] = []

    def stop() -> None:
        asked.append(signal.SIGTERM)
        task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
    try:
        return await task
    except asyncio.CancelledError:
        if asked:
            raise Interrupted(asked[0]) from None
        raise
    finally:
        signal.signal(signal.SIGTERM, raise_interrupted)
