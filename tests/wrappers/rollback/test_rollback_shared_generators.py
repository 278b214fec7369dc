"""A random generator that a wrapper shares with its environment stays one generator."""

from __future__ import annotations

import random
import threading
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import leafe_gym as lg
from leafe_gym.envs.space import TextSpace


class Dice(gym.Env[str, str]):
    """Shows what it draws from a generator of each kind."""

    def __init__(self) -> None:
        self.observation_space = TextSpace()
        self.action_space: Any = gym.spaces.Discrete(100)
        self.dice = random.Random(0)
        self.old = np.random.RandomState(0)
        self.decks = [np.random.default_rng(0)]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.dice = random.Random(seed)
        self.old = np.random.RandomState(seed)
        self.decks = [np.random.default_rng(seed)]
        self.action_space.seed(seed)
        return "start", {}

    def step(self, action: Any) -> tuple[str, float, bool, bool, dict[str, Any]]:
        numbers = (
            self.np_random.integers(1000),
            self.dice.randrange(1000),
            self.old.randint(1000),
            self.decks[0].integers(1000),
            self.action_space.sample(),
        )
        return str(numbers), 0.0, False, False, {}

    def get_state(self) -> Any:
        return (
            self.dice.getstate(),
            self.old.get_state(),
            self.decks[0].bit_generator.state,
        )

    def set_state(self, state: Any) -> None:
        self.dice = random.Random()
        self.dice.setstate(state[0])
        self.old = np.random.RandomState()
        self.old.set_state(state[1])
        self.decks = [np.random.default_rng()]
        self.decks[0].bit_generator.state = state[2]


class Draws(gym.Wrapper[Any, Any, Any, Any]):
    """Draws one more number from a generator that it keeps a reference to."""

    def take(self) -> Any:
        raise NotImplementedError

    def number(self) -> Any:
        raise NotImplementedError

    def reset(self, **kwargs: Any) -> Any:
        shown = super().reset(**kwargs)
        self.take()
        return shown

    def step(self, action: Any) -> Any:
        extra = self.number()
        observation, *rest = super().step(action)
        return (f"{extra} {observation}", *rest)


class OfTheEnv(Draws):
    def take(self) -> None:
        self.rng = self.unwrapped.np_random

    def number(self) -> Any:
        return self.rng.integers(1000)


class Nested(OfTheEnv):
    def take(self) -> None:
        self.kept = {"rng": [self.unwrapped.np_random]}

    def number(self) -> Any:
        return self.kept["rng"][0].integers(1000)


class Method(Draws):
    """Keeps a method of the generator only."""

    def take(self) -> None:
        self.draw = self.unwrapped.np_random.integers

    def number(self) -> Any:
        return self.draw(1000)


class Bits(Draws):
    """A generator of its own on the same source of bits."""

    def take(self) -> None:
        self.rng = np.random.Generator(self.unwrapped.np_random.bit_generator)

    def number(self) -> Any:
        return self.rng.integers(1000)


class OfTheSpace(Draws):
    def take(self) -> None:
        self.rng = self.unwrapped.action_space.np_random

    def number(self) -> Any:
        return self.rng.integers(1000)


class PlainRandom(Draws):
    def take(self) -> None:
        self.rng = self.unwrapped.dice  # type: ignore[attr-defined]

    def number(self) -> Any:
        return self.rng.randrange(1000)


class OldStyle(PlainRandom):
    def take(self) -> None:
        self.rng = self.unwrapped.old  # type: ignore[attr-defined]

    def number(self) -> Any:
        return self.rng.randint(1000)


class InAList(OfTheEnv):
    def take(self) -> None:
        self.rng = self.unwrapped.decks[0]  # type: ignore[attr-defined]


class WithALock(OfTheEnv):
    """Something beside it cannot be pickled."""

    def take(self) -> None:
        super().take()
        self.lines = [self.rng, lambda: self]

    def number(self) -> Any:
        return self.lines[0].integers(1000)  # type: ignore[attr-defined]


KINDS = (OfTheEnv, Nested, Method, Bits, OfTheSpace, PlainRandom, OldStyle, InAList, WithALock)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", ["native", "pickle", "deepcopy", "replay"])
def test_stays_shared(kind: type[Draws], backend: str) -> None:
    if backend == "deepcopy" and kind in (Method, WithALock):
        pytest.skip("copy.deepcopy keeps methods of C types and closures; verification refuses it")

    def make() -> Any:
        return gym.wrappers.TimeLimit(kind(Dice()), 50)

    plain = make()
    plain.reset(seed=3)
    expected = [plain.step(0)[0] for _ in range(9)]
    env = lg.RollbackWrapper(make(), backend, factory=make, probe_actions=[0, 1])
    env.reset(seed=3)
    assert [env.step(0)[0] for _ in range(3)] == expected[:3]
    snapshot = env.snapshot()
    assert [env.step(0)[0] for _ in range(6)] == expected[3:]
    for other in (False, True, False):
        if other:  # the reset makes a new generator, to which the wrapper refers
            env.reset(seed=8)
            env.step(0)
        env.restore(snapshot)
        assert [env.step(0)[0] for _ in range(6)] == expected[3:]
    copy = env.fork()
    env.restore(snapshot)
    copy.restore(snapshot)
    for text in expected[3:]:
        assert env.step(0)[0] == copy.step(0)[0] == text


def test_a_generator_of_its_own_is_saved_by_value() -> None:
    class Own(Draws):
        def take(self) -> None:
            self.rng = np.random.default_rng(7)
            self.lock = threading.RLock

        def number(self) -> Any:
            return self.rng.integers(1000)

    env = lg.RollbackWrapper(Own(Dice()), "native", factory=lambda: Own(Dice()), probe_actions=[0])
    env.reset(seed=3)
    env.step(0)
    snapshot = env.snapshot()
    first = [env.step(0)[0] for _ in range(4)]
    env.restore(snapshot)
    assert [env.step(0)[0] for _ in range(4)] == first
