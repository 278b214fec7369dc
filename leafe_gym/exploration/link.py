"""The link between the driver and a worker outside its process: frames, and both of its ends.

A frame is a pickled tuple: its kind, then its values. Frames to the worker: "job", "idle",
"choice", "reply", "result", "close". Frames to the driver: "ready", "event", "ask", "cancel",
"call". Both ends belong to one user and one run; nothing else can write to a link.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import os
import pickle
import platform
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import cloudpickle
import gymnasium as gym

from leafe_gym.errors import LeafeError, PolicyError, UsageError
from leafe_gym.exploration.jobs import Ended, Event, Finished, Setup, TaskJob
from leafe_gym.exploration.remote_policy import PolicyServer, connect
from leafe_gym.exploration.worker import Worker
from leafe_gym.types import Completion, Json, Message, Sampling

Send = Callable[[bytes], None]


class WorkerError(LeafeError):
    """An error of a worker that could not be sent as it is; says what it said."""


def frame(kind: str, *values: Any) -> bytes:
    """A frame."""
    return pickle.dumps((kind, *values), protocol=pickle.HIGHEST_PROTOCOL)


def sendable(error: BaseException) -> BaseException:
    """An error that pickles: itself, or one of the nearest class of ours with its text."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - anything may go wrong in a foreign class
        return WorkerError(f"{type(error).__name__}: {error}")
    return error


def versions() -> dict[str, str]:
    """What must agree between the driver and its workers."""
    return {"python": platform.python_version(), "leafe-gym": version("leafe-gym")}


def check_versions(theirs: dict[str, str], where: str) -> None:
    """Compare a worker's versions with ours.

    Raises:
        UsageError: if they differ; names both.
    """
    for name, ours in versions().items():
        if theirs.get(name) != ours:
            raise UsageError(
                f"{where} has {name} {theirs.get(name)}, the driver has {ours}: install the same "
                "version on every machine of the run"
            )


def pack_setup(setup: Setup) -> bytes:
    """The setup, for another process, with what is registered here for its environments.

    Raises:
        UsageError: if the agent cannot be sent.
    """
    specs = [gym.registry[name] for name in setup.env_ids if name in gym.registry]
    try:
        return bytes(cloudpickle.dumps((setup, specs)))
    except Exception as error:
        raise UsageError(
            f"the agent or an environment cannot be sent to another process "
            f"({type(error).__name__}: {error}): use workers=0"
        ) from error


def unpack_setup(data: bytes) -> Setup:
    """The setup; environments that are not registered here are."""
    setup, specs = pickle.load(io.BytesIO(data))
    for spec in specs:
        if spec.id not in gym.registry:
            gym.registry[spec.id] = spec
    assert isinstance(setup, Setup)
    return setup


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


class DriverEnd:
    """The driver's end of the link to one worker; a `WorkerHandle`.

    Args:
        name: of the worker, for messages.
        slots: most tasks at a time.
        send: takes a frame to the worker.
        server: answers its calls.
        on_event: receives its events.
    """

    def __init__(
        self,
        name: str,
        slots: int,
        send: Send,
        server: PolicyServer,
        on_event: Callable[[Any, Event], None],
    ) -> None:
        self.name, self.slots = name, slots
        self.place = ""  # until it is ready
        self.running: dict[int, TaskJob] = {}
        self.lends = 0
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.heard = asyncio.get_running_loop().time()
        self._send, self._server, self._on_event = send, server, on_event
        self._calls: dict[int, asyncio.Task[Completion]] = {}

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
        calls = list(self._calls.values())
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    def receive(self, data: bytes) -> None:
        """Take a frame from the worker, in the event loop's thread."""
        kind, *values = pickle.loads(data)
        self.heard = asyncio.get_running_loop().time()
        match kind:
            case "event":
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


def search_path() -> list[str]:
    """Where this process finds modules; the current folder by its name."""
    return [entry or os.getcwd() for entry in sys.path]
