"""A state machine of all calls of a RollbackWrapper, compared with a fresh environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)
from toy_envs import Native, SharesTrail, register

from leafe_gym.errors import SnapshotReleased
from leafe_gym.types import Snapshot
from leafe_gym.wrappers import RollbackWrapper

SOKOBAN = ("up", "down", "left", "right")
Path = tuple[int, tuple[str, ...]]


def build_toy() -> gym.Env[Any, Any]:
    env = gym.make(register(Native), max_episode_steps=9)
    return gym.wrappers.RecordEpisodeStatistics(env)


def build_shared() -> gym.Env[Any, Any]:
    env = SharesTrail(gym.make(register(Native), max_episode_steps=9))
    return gym.wrappers.RecordEpisodeStatistics(env)


def build_sokoban() -> gym.Env[Any, Any]:
    env = gym.make("leafe_gym:leafe/Sokoban-v0", max_steps=9, size=6, boxes=1)
    return gym.wrappers.RecordEpisodeStatistics(env)


def strip(info: dict[str, Any]) -> dict[str, Any]:
    """Without the wall clock."""
    out = {key: value for key, value in info.items() if key != "won"}
    if "episode" in out:
        out["episode"] = {key: out["episode"][key] for key in ("r", "l")}
    return out


class Model:
    """What a fresh environment gives for a whole path, done from the start."""

    def __init__(self, build: Callable[[], gym.Env[Any, Any]]) -> None:
        self.env = build()
        self.known: dict[Path, tuple[Any, ...]] = {}

    def outcome(self, seed: int, path: tuple[str, ...]) -> tuple[Any, ...]:
        if (seed, path) not in self.known:
            observation, info = self.env.reset(seed=seed)
            self.known[seed, ()] = (observation, None, False, False, strip(info))
            for number, action in enumerate(path, 1):
                observation, reward, *over, info = self.env.step(action)
                self.known[seed, path[:number]] = (observation, reward, *over, strip(info))
        return self.known[seed, path]


def machine(
    build: Callable[[], gym.Env[Any, Any]], backend: str, actions: tuple[str, ...]
) -> type[RuleBasedStateMachine]:
    model = Model(build)

    class Machine(RuleBasedStateMachine):
        marks = Bundle("marks")

        @initialize(seed=st.integers(0, 2))
        def begin(self, seed: int) -> None:
            self.env = RollbackWrapper(build(), backend, factory=build)
            self.restart(seed)

        @rule(seed=st.integers(0, 2))
        def restart(self, seed: int) -> None:
            self.seed, self.path = seed, ()
            self.agree(self.env.reset(seed=seed))

        @precondition(lambda self: not self.over)
        @rule(action=st.sampled_from(actions))
        def step(self, action: str) -> None:
            self.path = (*self.path, action)
            observation, reward, terminated, truncated, info = self.env.step(action)
            expected = model.outcome(self.seed, self.path)
            assert (observation, reward, terminated, truncated, strip(info)) == expected

        @rule(target=marks)
        def snapshot(self) -> tuple[Snapshot, Path, str]:
            mark = self.env.snapshot()
            assert mark.step == len(self.path)
            return mark, (self.seed, self.path), mark.digest

        @rule(mark=marks)
        def restore(self, mark: tuple[Snapshot, Path, str]) -> None:
            self.seed, self.path = mark[1]
            self.agree(self.env.restore(mark[0]))
            assert self.env.snapshot().digest == mark[2]

        @rule(data=st.data())
        def rollback(self, data: st.DataObject) -> None:
            to = data.draw(st.integers(0, len(self.path)))
            self.path = self.path[:to]
            self.agree(self.env.rollback(to))

        @rule(mark=consumes(marks))
        def release(self, mark: tuple[Snapshot, Path, str]) -> None:
            self.env.release(mark[0])
            self.env.release(mark[0])
            with pytest.raises(SnapshotReleased):
                self.env.restore(mark[0])

        @rule()
        def fork(self) -> None:
            before = self.env
            self.env = before.fork()
            if not self.over:
                before.step(actions[0])

        @invariant()
        def counts(self) -> None:
            if hasattr(self, "env"):
                assert self.env.steps == len(self.path)
                length = self.env.get_wrapper_attr("episode_lengths")
                assert length == len(self.path)

        @property
        def over(self) -> bool:
            _, _, terminated, truncated, _ = model.outcome(self.seed, self.path)
            return bool(terminated or truncated)

        def agree(self, shown: tuple[Any, dict[str, Any]]) -> None:
            observation, *_, info = model.outcome(self.seed, self.path)
            assert (shown[0], strip(shown[1])) == (observation, info)

    return Machine
