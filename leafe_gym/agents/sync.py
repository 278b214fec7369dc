"""Running an asynchronous call from ordinary code."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from leafe_gym.errors import UsageError

T = TypeVar("T")


def run_blocking(call: Coroutine[Any, Any, T], *, twin: str) -> T:
    """The result of `call`, waited for.

    Raises:
        UsageError: inside a running event loop (a notebook, an async function): names the
            asynchronous twin to await instead.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(call)
    call.close()
    raise UsageError(f"an event loop is already running here: use `await {twin}(...)` instead")
