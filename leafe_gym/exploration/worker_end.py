"""The worker's end of a link: runs a `Worker` in a thread of its own, fed with frames."""

from __future__ import annotations

import asyncio
import itertools
import pickle
import platform
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from leafe_gym.exploration.jobs import Ended, Event, Finished
from leafe_gym.exploration.link import Send, frame, sendable, unpack_setup, versions
from leafe_gym.exploration.remote_policy import connect
from leafe_gym.exploration.worker import Worker
from leafe_gym.types import Completion, Message, Sampling


class WorkerEnd:
    """The worker's end: an event loop in a thread of its own, fed with frames.

    Args:
        setup: as `pack_setup` made it.
        send: takes a frame to the driver; called from the loop's thread.
    """

    def __init__(self, setup: bytes, send: Send) -> None:
        self._send = send
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[Completion]] = {}
        self._results: dict[int, Any] = {}
        self._arrived = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        unpacked = unpack_setup(setup)
        connect(unpacked.agent, self)
        self._worker = Worker(unpacked, self._emit)
        self._thread.start()
        self._loop.call_soon_threadsafe(self._worker.beat)
        send(frame("ready", versions(), platform.node()))

    def receive(self, data: bytes) -> bool:
        """Take a frame from the driver; False once it asks to close. Any thread may call it."""
        kind, *values = pickle.loads(data)
        if kind == "result":  # the loop's thread waits for it
            with self._arrived:
                self._results[values[0]] = values[1:]
                self._arrived.notify_all()
        else:
            self._loop.call_soon_threadsafe(self._take, kind, values)
        return bool(kind != "close")

    def close(self, patience: float = 5.0) -> None:
        """End all that runs; waits at most `patience` seconds."""
        ending = asyncio.run_coroutine_threadsafe(self._worker.close(), self._loop)
        try:
            ending.result(patience)
        except Exception:  # noqa: BLE001 - the process ends in any case
            ending.cancel()

    async def ask(self, policy: str, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """See `Caller.ask`."""
        number = next(self._numbers)
        reply: asyncio.Future[Completion] = self._loop.create_future()
        self._asked[number] = reply
        self._send(frame("ask", number, policy, list(messages), sampling))
        try:
            return await reply
        except asyncio.CancelledError:
            self._send(frame("cancel", number))
            raise
        finally:
            del self._asked[number]

    def call(self, policy: str, method: str, arguments: tuple[Any, ...]) -> Any:
        """See `Caller.call`; blocks the loop, so the method must answer at once."""
        number = next(self._numbers)
        self._send(frame("call", number, policy, method, arguments))
        with self._arrived:
            while number not in self._results:
                self._arrived.wait()
            good, value = self._results.pop(number)
        if not good:
            raise value
        return value

    def _take(self, kind: str, values: list[Any]) -> None:
        match kind:
            case "job":
                self._worker.submit(values[0])
            case "idle":
                self._worker.give_idle(values[0])
            case "choice":
                self._worker.choose(values[0])
            case "reply":
                reply = self._asked.get(values[0])
                if reply is not None and not reply.done():
                    reply.set_result(values[2]) if values[1] else reply.set_exception(values[2])

    def _emit(self, event: Event) -> None:
        if isinstance(event, Finished):  # the driver has stored its branches
            event = Finished(event.number, replace(event.tree, branches=[]))
        elif isinstance(event, Ended):
            event = Ended(event.number, sendable(event.error))
        self._send(frame("event", event))
