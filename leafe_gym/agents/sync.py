"""Running an asynchronous call from ordinary code, so that one Ctrl-C ends it."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Coroutine
from types import FrameType
from typing import Any, TypeVar

from leafe_gym.errors import UsageError

T = TypeVar("T")
PATIENCE = 1.0
"""Seconds after a Ctrl-C in which the event loop must begin to end; then a second one is sent,
which interrupts whatever blocks it."""
INSISTENT = 60
"""How often that is repeated: each ends one attempt of the loop to wait for its tasks."""


def run_blocking(call: Coroutine[Any, Any, T], *, variant: str) -> T:
    """The result of `call`, waited for.

    Args:
        call: the coroutine.
        variant: name of the asynchronous function, for the message.

    Raises:
        UsageError: inside a running event loop (a notebook, an async function): names the
            asynchronous variant to await instead.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        ended = threading.Event()
        try:
            return asyncio.run(ends_at_interrupt(call, ended))
        finally:
            ended.set()
    call.close()
    raise UsageError(f"an event loop is already running here: use `await {variant}(...)` instead")


async def ends_at_interrupt(call: Coroutine[Any, Any, T], ended: threading.Event) -> T:
    """Await `call`; a Ctrl-C also interrupts code that blocks the event loop or ignores it.

    Args:
        call: the coroutine.
        ended: set by the caller once the event loop has ended.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        return await call
    main = threading.get_ident()

    def insist() -> None:
        for _ in range(INSISTENT):
            if ended.wait(PATIENCE):
                return
            signal.pthread_kill(main, signal.SIGINT)

    def interrupt(number: int, frame: FrameType | None) -> None:
        threading.Thread(target=insist, daemon=True).start()
        signal.signal(signal.SIGINT, handler)
        handler(number, frame)

    signal.signal(signal.SIGINT, interrupt)
    try:
        return await call
    finally:
        if signal.getsignal(signal.SIGINT) is interrupt:
            signal.signal(signal.SIGINT, handler)
