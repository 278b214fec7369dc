"""Snapshots stay among environments that are configured alike."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import gymnasium as gym
import numpy as np
import pytest

import leafe_gym as lg
from leafe_gym import errors
from leafe_gym.envs.space import TextSpace


@dataclass
class Config:
    goal: int
    walls: Any = field(default_factory=lambda: np.zeros(3))


class Rules:
    def __init__(self, goal: int) -> None:
        self.goal = goal


class Maze(gym.Env[str, str]):
    """Looks the same whatever its goal is, until it is reached."""

    def __init__(self, config: Any = None, goal: int = 5) -> None:
        self.observation_space = self.action_space = TextSpace()
        self.target = getattr(config, "goal", goal)
        self.at = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.at = 0
        return "at 0", {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.at += 1
        won = self.at == self.target
        return f"at {self.at}", float(won), won, False, {"won": won}

    def get_state(self) -> int:
        return self.at

    def set_state(self, state: int) -> None:
        self.at = state


class Named(Maze):
    """Keeps its parameter under its name."""

    def __init__(self, rules: Any) -> None:
        super().__init__(rules)
        self._rules = rules


class Pickles(Maze, gym.utils.EzPickle):
    def __init__(self, goal: int) -> None:
        Maze.__init__(self, goal=goal)
        gym.utils.EzPickle.__init__(self, goal)

    def __reduce__(self) -> Any:
        return object.__reduce__(self)


class Busy(Maze):
    """Holds something that cannot be compared."""

    def __init__(self, goal: int) -> None:
        super().__init__(goal=goal)
        self.lock = threading.Lock()

    def reset(self, **kwargs: Any) -> Any:
        _, info = super().reset(**kwargs)
        return f"at 0 of {self.target}", info


class Bonus(gym.Wrapper[Any, Any, Any, Any]):
    def __init__(self, env: Any, factor: float) -> None:
        super().__init__(env)
        self.scale = [factor]

    def step(self, action: Any) -> Any:
        observation, reward, *rest = super().step(action)
        return (observation, reward * self.scale[0], *rest)


def scaled(factor: float) -> Any:
    return gym.wrappers.TransformReward(Maze(), lambda reward: reward * factor)


for name, cls in (("Maze", Maze), ("Named", Named)):
    if f"configured/{name}-v0" not in gym.registry:
        gym.register(f"configured/{name}-v0", cls)
MAZE, NAMED = "configured/Maze-v0", "configured/Named-v0"

Build = Callable[[], gym.Env[Any, Any]]
DIFFERENT: dict[str, tuple[Build, Build]] = {
    "config object": (
        lambda: gym.make(MAZE, config=Config(5)),
        lambda: gym.make(MAZE, config=Config(9)),
    ),
    "array in a config": (
        lambda: gym.make(MAZE, config=Config(5, np.zeros(3))),
        lambda: gym.make(MAZE, config=Config(5, np.ones(3))),
    ),
    "plain object": (
        lambda: gym.make(NAMED, rules=Rules(5)),
        lambda: gym.make(NAMED, rules=Rules(9)),
    ),
    "number": (lambda: gym.make(MAZE, goal=5), lambda: gym.make(MAZE, goal=9)),
    "time limit": (
        lambda: gym.make(MAZE, max_episode_steps=5),
        lambda: gym.make(MAZE, max_episode_steps=9),
    ),
    "bare": (lambda: Maze(Config(5)), lambda: Maze(Config(9))),
    "bare, named": (lambda: Named(Rules(5)), lambda: Named(Rules(9))),
    "EzPickle": (lambda: Pickles(5), lambda: Pickles(9)),
    "wrapper": (lambda: Bonus(Maze(), 2), lambda: Bonus(Maze(), 3)),
    "wrapper of gym.make": (
        lambda: Bonus(gym.make(MAZE), 2),
        lambda: Bonus(gym.make(MAZE), 3),
    ),
    "function of a wrapper": (lambda: scaled(2), lambda: scaled(3)),
    "recorded wrapper": (
        lambda: gym.wrappers.TimeLimit(Maze(), 5),
        lambda: gym.wrappers.TimeLimit(Maze(), 9),
    ),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_other_arguments_are_refused(name: str) -> None:
    one, other = DIFFERENT[name]
    source = lg.RollbackWrapper(one(), "native", factory=one, probe_actions=["a", "b"])
    source.reset(seed=0)
    source.step("a")
    snapshot = source.snapshot()
    target = lg.RollbackWrapper(other(), "native", factory=other, probe_actions=["a", "b"])
    with pytest.raises(errors.UsageError, match="other arguments"):
        target.restore(snapshot)
    with pytest.raises(errors.UsageError, match="other arguments"):
        target.restore(pickle.loads(cloudpickle.dumps(snapshot)))
    assert source.restore(snapshot)[0].startswith("at 1")


@pytest.mark.parametrize("name", DIFFERENT)
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("with_factory", [True, False])
def test_equal_arguments_are_taken_without_a_replay(
    name: str, which: int, with_factory: bool
) -> None:
    build = DIFFERENT[name][which]
    envs = [
        lg.RollbackWrapper(
            build(),
            "native",
            factory=build if with_factory else None,
            probe_actions=["a", "b"],
        )
        for _ in range(2)
    ]
    for env in envs:
        env.reset(seed=0)
    envs[0].step("a")
    snapshot = envs[0].snapshot()
    for one in (snapshot, pickle.loads(cloudpickle.dumps(snapshot))):
        assert envs[1].restore(one)[0].startswith("at 1")
        assert envs[1].replayed_steps == 0
        assert envs[1].step("a")[0].startswith("at 2")


def busy(goal: int) -> gym.Env[Any, Any]:
    return Busy(goal)


def test_what_cannot_be_compared_is_replayed() -> None:
    source = lg.RollbackWrapper(Busy(5), "native", probe_actions=["a", "b"])
    source.reset(seed=0)
    source.step("a")
    snapshot = source.snapshot()
    alike = lg.RollbackWrapper(Busy(5), "native", probe_actions=["a", "b"])
    assert alike.restore(snapshot)[0] == "at 1"
    assert alike.replayed_steps == 1
    different = lg.RollbackWrapper(Busy(9), "native", probe_actions=["a", "b"])
    with pytest.raises(errors.UsageError, match="other arguments"):
        different.restore(snapshot)


def test_equal_factories_are_enough() -> None:
    def wrap(goal: int) -> lg.RollbackWrapper:
        factory = partial(busy, goal)
        return lg.RollbackWrapper(factory(), "native", factory=factory, probe_actions=["a", "b"])

    source, alike, different = wrap(5), wrap(5), wrap(9)
    source.reset(seed=0)
    source.step("a")
    snapshot = source.snapshot()
    assert alike.restore(snapshot)[0] == "at 1"
    assert alike.replayed_steps == 0
    with pytest.raises(errors.UsageError, match="other arguments"):
        different.restore(snapshot)


def test_a_fork_takes_all_snapshots() -> None:
    env = lg.RollbackWrapper(Busy(5), "native", factory=lambda: Busy(5), probe_actions=["a", "b"])
    env.reset(seed=0)
    env.step("a")
    snapshot = env.snapshot()
    copy = env.fork()
    assert copy.restore(snapshot)[0] == "at 1"
    assert copy.replayed_steps == 0


def test_other_processes() -> None:
    source = (
        "import pickle, sys\n"
        "sys.path[:0] = {path!r}\n"
        "import leafe_gym as lg\n"
        "from test_rollback_configurations import DIFFERENT\n"
        "for name, builds in DIFFERENT.items():\n"
        "    env = lg.RollbackWrapper(builds[0](), 'replay', factory=builds[0])\n"
        "    env.reset(seed=0)\n"
        "    print(pickle.dumps(env.snapshot()).hex())\n"
    )
    here = str(__file__).rpartition("/")[0]
    done = subprocess.run(
        [sys.executable, "-c", source.format(path=[here, *sys.path])],
        capture_output=True,
        text=True,
        check=True,
    )
    snapshots = [pickle.loads(bytes.fromhex(line)) for line in done.stdout.split()]
    assert len(snapshots) == len(DIFFERENT)
    for snapshot, (same, other) in zip(snapshots, DIFFERENT.values(), strict=True):
        env = lg.RollbackWrapper(same(), "replay", factory=same)
        assert env.restore(snapshot)[0].startswith("at 0")
        env = lg.RollbackWrapper(other(), "replay", factory=other)
        with pytest.raises(errors.UsageError, match="other arguments"):
            env.restore(snapshot)
