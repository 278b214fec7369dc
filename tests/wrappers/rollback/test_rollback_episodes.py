"""Restores across episodes, after failures, and among instances that only seem alike."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import leafe_gym as lg
from leafe_gym import errors
from leafe_gym.wrappers.rollback.digests import describe_each


class Counter(gym.Env[Any, int]):
    """Counts; `level` is part of every outcome but not of the saved state."""

    level = 1
    fails_at = 99

    def __init__(self) -> None:
        self.action_space: Any = gym.spaces.Discrete(4)
        self.observation_space = gym.spaces.Box(-1e9, 1e9, (1,), np.float64)
        self.todo: list[int] = []

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.n = 0
        self.begin(options or {})
        return np.zeros(1), {}

    def begin(self, options: dict[str, Any]) -> None:
        """What a reset sets besides the count."""

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.todo.append(int(action) + 1)
        if action == self.fails_at:
            raise RuntimeError("failed")
        self.n += sum(self.todo)
        self.todo.clear()
        return np.array([self.n + 1000.0 * self.level]), 0.0, False, False, {}

    def get_state(self) -> int:
        return self.n

    def set_state(self, state: int) -> None:
        self.n = state


class FromOptions(Counter):
    def begin(self, options: dict[str, Any]) -> None:
        self.level = options.get("level", 0)


class FromSeed(Counter):
    def begin(self, options: dict[str, Any]) -> None:
        self.level = int(self.np_random.integers(1_000_000))


class Board(Counter):
    def begin(self, options: dict[str, Any]) -> None:
        self.board = np.arange(4) * options.get("scale", 1)

    def step(self, action: int) -> Any:
        observation, *rest = super().step(action)
        return (observation + self.board[action], *rest)


ONE, TWO = {"level": 1, "scale": 1}, {"level": 2, "scale": 5}


@pytest.mark.parametrize(
    ("cls", "first", "second"),
    [
        (FromOptions, (1, ONE), (1, TWO)),
        (FromSeed, (1, None), (2, None)),
        (Board, (1, ONE), (3, TWO)),
    ],
)
def test_a_restore_across_episodes_brings_back_what_the_reset_set(
    cls: type[Counter], first: Any, second: Any
) -> None:
    env = lg.RollbackWrapper(cls(), "native", factory=cls)
    env.reset(seed=first[0], options=first[1])
    env.step(1)
    snapshot = env.snapshot()
    expected = env.step(2)[0]
    env.reset(seed=second[0], options=second[1])
    env.step(3)
    env.restore(snapshot)
    assert env.step(2)[0] == expected
    assert env.replayed_steps == 0


class Shown(Counter):
    render_mode = "human"

    def __init__(self) -> None:
        super().__init__()
        self.metadata = {"render_modes": ["human"], "render_fps": 100}

    def render(self) -> None:
        return None


def limited() -> Any:
    return gym.wrappers.TimeLimit(Counter(), 50)


@pytest.mark.parametrize(("build", "factory"), [(Counter, None), (limited, None), (Shown, Shown)])
def test_a_half_changed_instance_is_right_or_refused(build: Any, factory: Any) -> None:
    env = lg.RollbackWrapper(build(), "native", factory=factory)
    env.reset(seed=1)
    env.step(1)
    snapshot = env.snapshot()
    with pytest.raises(RuntimeError):
        env.step(99)
    with pytest.raises(errors.RestoreMismatch):
        env.restore(snapshot)
    env.reset(seed=1)


class Clean(Counter):
    def __init__(self, **_: Any) -> None:
        super().__init__()

    def begin(self, options: dict[str, Any]) -> None:
        self.todo = []


def test_the_instance_is_kept_where_a_new_one_differs() -> None:
    if "episodes/Clean-v0" not in gym.registry:
        gym.register("episodes/Clean-v0", Clean)
    made = gym.make("episodes/Clean-v0")
    base: Any = made.unwrapped
    base.level = 5
    env = lg.RollbackWrapper(made, "native")
    env.reset(seed=1)
    env.step(1)
    snapshot = env.snapshot()
    expected = env.step(2)[0]
    env.restore(snapshot)
    with pytest.raises(errors.SnapshotUnsupported, match="level"):
        env.fork()
    with pytest.raises(RuntimeError):
        env.step(99)
    env.restore(snapshot)
    assert env.step(2)[0] == expected == 5000 + 5


class FromEnviron(Counter):
    def __init__(self) -> None:
        super().__init__()
        self.level = int(os.environ.get("LEAFE_TEST_LEVEL", "1"))


def environ(level: int) -> lg.RollbackWrapper:
    os.environ["LEAFE_TEST_LEVEL"] = str(level)
    try:
        return lg.RollbackWrapper(FromEnviron(), "native")
    finally:
        del os.environ["LEAFE_TEST_LEVEL"]


def set_later(level: int) -> lg.RollbackWrapper:
    env = Counter()
    env.level = level
    return lg.RollbackWrapper(env, "native")


CHOSEN = {"level": 1}


def from_global() -> Counter:
    env = Counter()
    env.level = CHOSEN["level"]
    return env


def one_factory(level: int) -> lg.RollbackWrapper:
    CHOSEN["level"] = level
    return lg.RollbackWrapper(from_global(), "native", factory=from_global)


@pytest.mark.parametrize("build", [environ, set_later, one_factory])
def test_snapshots_do_not_cross_to_other_settings(
    build: Callable[[int], lg.RollbackWrapper],
) -> None:
    source, target = build(1), build(2)
    source.reset(seed=1)
    target.reset(seed=1)
    with pytest.raises(errors.UsageError, match="other arguments"):
        target.restore(source.snapshot())


class Identified(Counter):
    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.name = os.urandom(8)


def test_a_random_attribute_is_no_setting() -> None:
    source, target = (lg.RollbackWrapper(Identified(), "native") for _ in range(2))
    source.reset(seed=1)
    source.step(1)
    snapshot = source.snapshot()
    target.restore(snapshot)
    assert target.replayed_steps == 1
    assert source.step(2)[0] == target.step(2)[0]


def _python() -> float:
    return random.random()


def _numpy() -> float:
    return float(np.random.rand())


def _normal() -> float:
    return random.gauss(0, 1)


class Late(Counter):
    draw: Callable[[], float]

    def step(self, action: int) -> Any:
        observation, *rest = super().step(action)
        return (observation + (type(self).draw() if self.n >= 40 else 0), *rest)


class LatePython(Late):
    draw = staticmethod(_python)


class LateNumpy(Late):
    draw = staticmethod(_numpy)


class LateNormal(Late):
    draw = staticmethod(_normal)


@pytest.mark.parametrize("cls", [LatePython, LateNumpy, LateNormal])
def test_numbers_drawn_late_follow_from_the_seed_from_the_first_on(cls: type[Late]) -> None:
    env = lg.RollbackWrapper(cls(), factory=cls)

    def episode() -> list[float]:
        env.reset(seed=5)
        return [float(env.step(0)[0][0]) for _ in range(45)]

    first = episode()
    assert len(set(first[40:])) == 5
    env.replay(env.transitions, lg.EpisodeStart(5))
    assert episode() == first
    assert [float(one.observation[0]) for one in env.transitions] == first


@pytest.mark.parametrize(
    "large", [np.zeros(1 << 21, np.uint8), "x" * (1 << 21), [np.zeros(1 << 18)] * 4]
)
def test_large_attributes_are_not_read_whole(large: Any) -> None:
    digests = describe_each({"small": 3, "large": large, "other": "text"})
    assert digests["large"] == ""
    assert digests["small"]
    assert digests["other"]


class OnClass(Counter):
    """Counts on its class, so that only a process of its own keeps two of them apart."""

    count = 0
    name: Any = "a"

    def __init__(self) -> None:
        super().__init__()
        self.level = 1
        self.name = "a"
        self.parts = [1]

    def begin(self, options: dict[str, Any]) -> None:
        OnClass.count = 0

    def step(self, action: int) -> Any:
        OnClass.count += 1 + int(action)
        extra = 100 * len(self.parts) + 1000 * self.level + 10000 * len(self.name)
        return np.array([OnClass.count + extra]), 0.0, False, False, {}

    def get_state(self) -> int:
        return 0


@pytest.mark.parametrize(("name", "value"), [("level", 9), ("name", "abc"), ("parts", [1, 2])])
def test_attributes_set_before_the_first_reset_reach_another_process(name: str, value: Any) -> None:
    base: Any = OnClass()
    setattr(base, name, value)
    alone: Any = OnClass()
    setattr(alone, name, value)
    alone.reset(seed=1)
    expected = alone.step(2)[0]
    env = lg.RollbackWrapper(base, factory=OnClass)
    env.reset(seed=1)
    snapshot = env.snapshot()
    assert env.step(2)[0] == expected
    env.restore(snapshot)
    assert env.step(2)[0] == expected
    env.close()
