"""State that a reset, a constructor or `close` writes outside of the instance."""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import gymnasium as gym
import pytest

import leafe_gym as lg


class Level(gym.Env[int, int]):
    """The level is on the class, chosen by the reset."""

    level = 0
    observation_space = gym.spaces.Discrete(10**6)
    action_space = gym.spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.count = 0
        self.begin(seed or 0)
        return 0, {}

    def step(self, action: int) -> Any:
        self.count += 1 + int(action)
        return self.base() + self.count, 0.0, False, False, {}

    def begin(self, seed: int) -> None:
        Level.level = seed

    def base(self) -> int:
        return Level.level * 100


class Registry(Level):
    """A registry that every reset empties."""

    rooms: ClassVar[dict[int, int]] = {}

    def begin(self, seed: int) -> None:
        self.rooms.clear()
        self.rooms[id(self)] = 700

    def base(self) -> int:
        return self.rooms.get(id(self), 0)


class Cached(Level):
    """A cache that every reset clears."""

    def begin(self, seed: int) -> None:
        self.calls = 0
        _room.cache_clear()

    def base(self) -> int:
        return _room(self)


@functools.lru_cache
def _room(env: Cached) -> int:
    env.calls += 1
    return 100 * env.calls


class Closing(Level):
    """A resource of the class that `close` drops."""

    table: ClassVar[list[int]] = []

    def begin(self, seed: int) -> None:
        self.table[:] = [300]

    def base(self) -> int:
        return self.table[0]

    def close(self) -> None:
        self.table.clear()


class Numbered(Level):
    """Shows how many instances were made."""

    made = 0

    def __init__(self) -> None:
        Numbered.made += 1

    def begin(self, seed: int) -> None:
        pass

    def base(self) -> int:
        return Numbered.made * 100


@pytest.mark.parametrize("cls", [Level, Registry, Cached, Closing, Numbered])
def test_what_other_instances_change(cls: Any) -> None:
    report = lg.check_rollback(
        cls, backends=("native", "pickle", "deepcopy", "replay"), seeds=(0,), other_process=False
    )
    assert {one.outcome for one in report.verdicts} <= {"refused", "wrong"}, str(report)
    assert report.verdict("replay").disturbed or cls is Numbered, str(report)


class Rare(gym.Env[int, int]):
    """`get_state` leaves out the level, which a reset draws from few values or gets."""

    observation_space = gym.spaces.Discrete(10**6)
    action_space = gym.spaces.Discrete(3)
    values = 2

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.count = 0
        self.level = self.choose(options or {})
        return 0, {}

    def choose(self, options: dict[str, Any]) -> int:
        return int(self.np_random.integers(self.values))

    def step(self, action: int) -> Any:
        self.count += 1 + int(action)
        return self.level * 1000 + self.count, 0.0, False, False, {}

    def get_state(self) -> Any:
        return self.count

    def set_state(self, state: Any) -> None:
        self.count = state


class Rarer(Rare):
    values = 4


class Optional(Rare):
    def choose(self, options: dict[str, Any]) -> int:
        return int(options.get("level", 0))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("cls", [Rare, Rarer, Optional])
def test_a_restore_from_an_episode_that_differs(cls: Any, seed: int) -> None:
    env = lg.RollbackWrapper(cls(), factory=cls)
    options = {"level": 3} if cls is Optional else None
    env.reset(seed=seed, options=options)
    env.step(1)
    saved = env.snapshot()
    expected = env.step(2)[0]
    for other in range(seed + 1, seed + 6):
        env.reset(seed=other)
        env.restore(saved)
        assert env.step(2)[0] == expected
