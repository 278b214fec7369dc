"""Counters whose number is kept outside of the environment object, each in another place."""

from __future__ import annotations

import decimal
import functools
import os
import random
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import gymnasium as gym
import numpy as np

from leafe_gym.envs.space import TextSpace

ACTIONS = ("add", "double", "wait")


class Outside(gym.Env[str, str]):
    """Counts in a place that all instances of this process share; `reset` starts at 1."""

    observation_space = action_space = TextSpace()

    def load(self) -> int:
        raise NotImplementedError

    def save(self, value: int) -> None:
        raise NotImplementedError

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.save(1)
        return str(self.load()), {"instruction": "add, double or wait"}

    def step(self, action: str) -> Any:
        value = self.load()
        self.save({"add": value + 1, "double": 2 * value}.get(action, value))
        return str(self.load()), 0.0, False, False, {"score": self.load()}


class OnClass(Outside):
    value = 0

    def load(self) -> int:
        return self.value

    def save(self, value: int) -> None:
        type(self).value = value


_VALUE = 0


class InModule(Outside):
    def load(self) -> int:
        return _VALUE

    def save(self, value: int) -> None:
        global _VALUE
        _VALUE = value


class InEnviron(Outside):
    def load(self) -> int:
        return int(os.environ["TOY_VALUE"])

    def save(self, value: int) -> None:
        os.environ["TOY_VALUE"] = str(value)


_CONTEXT: ContextVar[int] = ContextVar("toy_value", default=0)


class InContext(Outside):
    def load(self) -> int:
        return _CONTEXT.get()

    def save(self, value: int) -> None:
        _CONTEXT.set(value)


@functools.lru_cache(maxsize=1)
def _cell() -> list[int]:
    return [0]


class InCache(Outside):
    def load(self) -> int:
        return _cell()[0]

    def save(self, value: int) -> None:
        _cell.cache_clear()
        _cell()[0] = value


_DICE = random.Random()


class InGenerator(Outside):
    """Its number comes from a generator of the module, seeded at the reset."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        _DICE.seed(seed)
        return super().reset(seed=seed, options=options)

    def load(self) -> int:
        return self.value

    def save(self, value: int) -> None:
        self.value = value

    def step(self, action: str) -> Any:
        if action == "add":
            self.value += _DICE.randrange(100)
        return super().step("wait" if action == "add" else action)


class InDefault(Outside):
    """In a mutable default argument."""

    def cell(self, kept: list[int] = [0]) -> list[int]:  # noqa: B006
        return kept

    def load(self) -> int:
        return self.cell()[0]

    def save(self, value: int) -> None:
        self.cell()[0] = value


_THREAD = threading.local()


class InThread(Outside):
    def load(self) -> int:
        return int(_THREAD.value)

    def save(self, value: int) -> None:
        _THREAD.value = value


class InDecimal(Outside):
    """In the precision of decimal numbers, a setting of the process."""

    def load(self) -> int:
        return decimal.getcontext().prec

    def save(self, value: int) -> None:
        decimal.getcontext().prec = value


SHARED = (
    OnClass, InModule, InEnviron, InContext, InCache, InGenerator, InDefault, InThread, InDecimal,
)  # fmt: skip


class Deck(gym.Env[str, str]):
    """Cards in an order that `reset` takes from a generator which no seed reaches."""

    observation_space = action_space = TextSpace()

    def order(self) -> list[int]:
        cards = list(range(1000))
        self.generator.shuffle(cards)
        return cards

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        if not hasattr(self, "generator"):
            self.generator = self.make_generator()
        self.cards = self.order()
        self.place = 0
        return "a deck", {"instruction": "draw"}

    def make_generator(self) -> Any:
        return random.Random()

    def step(self, action: str) -> Any:
        if action == "draw":
            self.place += 1
        return f"card {self.cards[self.place]}", 0.0, False, False, {"score": self.place}


class NumpyDeck(Deck):
    def make_generator(self) -> Any:
        return np.random.default_rng()


class SystemDeck(Deck):
    """The order comes from the operating system."""

    def make_generator(self) -> Any:
        return None

    def order(self) -> list[int]:
        return [int.from_bytes(os.urandom(3), "big") for _ in range(100)]


class EzDeck(Deck, gym.utils.EzPickle):
    """Pickles its constructor's arguments, so that nothing in one process is correct."""

    def __init__(self) -> None:
        gym.utils.EzPickle.__init__(self)


def sealed(cls: Callable[[], Any]) -> Callable[[], Any]:
    """A factory that cannot be pickled."""
    lock = threading.Lock()

    def make() -> Any:
        with lock:
            return cls()

    return make
