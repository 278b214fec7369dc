"""Twelve environments, each of which breaks one promise that coming back relies on.

`PROMISES` says what comes of each: "caught" by `check_rollback` with that message, or "handled",
so that its episodes come back right, by which backend and for what reason others were refused.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium as gym
import toy_envs as toys
from toy_envs import Counter, Native


class ClassCounter(Native):
    """Counts in a place that belongs to all instances and to no episode."""

    total = 0

    def step(self, action: str) -> Any:
        type(self).total += 1
        return super().step(action)

    def text(self) -> str:
        return f"{super().text()} of {self.total}"


class WallClock(Native):
    """Shows the time."""

    def text(self) -> str:
        return f"{super().text()} at {time.perf_counter_ns()}"


class SaltedOrder(Native):
    """Shows a set of words in the order in which the set happens to give them."""

    def text(self) -> str:
        words = {f"word{number}" for number in range(12)}
        return f"{super().text()}: {' '.join(words)}"


class OpenHandle(Counter):
    """Holds an open handle."""

    def __init__(self, goal: int = 40) -> None:
        super().__init__(goal)
        self.lock = threading.RLock()


class Threaded(Counter):
    """Runs a thread that waits for nothing."""

    def __init__(self, goal: int = 40) -> None:
        super().__init__(goal)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.stop.wait, name="ticker", daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.stop.set()
        self.thread.join()


_HISTORIES: weakref.WeakKeyDictionary[Any, list[str]] = weakref.WeakKeyDictionary()


class Remembers(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """A wrapper whose history is nowhere in its attributes."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)

    def reset(self, **kwargs: Any) -> Any:
        _HISTORIES[self] = []
        return self.env.reset(**kwargs)

    def step(self, action: Any) -> Any:
        _HISTORIES.setdefault(self, []).append(action)
        text, *rest = self.env.step(action)
        return f"{text}, {len(_HISTORIES[self])} in the log", *rest


class Slots(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """A wrapper whose history is in a slot."""

    __slots__ = ("history",)

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        self.history: list[str] = []

    def reset(self, **kwargs: Any) -> Any:
        self.history = []
        return self.env.reset(**kwargs)

    def step(self, action: Any) -> Any:
        self.history.append(action)
        text, *rest = self.env.step(action)
        return f"{text}, {len(self.history)} in the log", *rest


def remembers() -> gym.Env[Any, Any]:
    return Remembers(toys.make(Native))


def slots() -> gym.Env[Any, Any]:
    return Slots(toys.make(Native))


class Case(NamedTuple):
    """What is to come of one broken environment.

    Attributes:
        subject: a class, or a function that makes it with its wrappers.
        caught: part of the failure; "" where it is handled.
        backend: that handles it, by `auto` (one of these); "" where none can.
        refused: backend -> part of the reason why it is not used.
    """

    subject: Callable[[], Any]
    caught: str
    backend: str
    refused: dict[str, str]


REPLAYED = {"pickle": "cannot be pickled", "deepcopy": "cannot be copied"}

PROMISES = {
    "EzPickle starts anew": Case(
        toys.Ez, "", "replay", {"pickle": "silently start anew", "deepcopy": "silently start anew"}
    ),
    "own generator forgotten": Case(
        toys.ForgetsGenerator,
        "get_state/set_state do not restore",
        "pickle|replay",  # whichever is cheaper, as measured
        {"native": "step"},
    ),
    "global generators": Case(
        toys.GlobalRandom, "draws from the global generators", "pickle|replay", {}
    ),
    "state handed out alive": Case(
        toys.LiveState, "get_state/set_state do not restore", "pickle|replay", {"native": "step"}
    ),
    "counter outside": Case(
        ClassCounter, "an episode cannot be done again", "fork", {"pickle": "of"}
    ),
    "seed ignored": Case(toys.IgnoresSeed, "the seed is not honoured", "pickle", {}),
    "wall clock": Case(WallClock, "the seed is not honoured", "", {"native": "at"}),
    "hash-salted order": Case(SaltedOrder, "in another process", "native", {}),
    "unpicklable handle": Case(OpenHandle, "", "replay", REPLAYED),
    "running thread": Case(Threaded, "", "replay", REPLAYED),
    "history in a wrapper": Case(
        remembers, "get_state/set_state do not restore", "replay", {"pickle": "in the log"}
    ),
    "one info for all steps": Case(toys.OneInfo, "", "native", {}),
}
