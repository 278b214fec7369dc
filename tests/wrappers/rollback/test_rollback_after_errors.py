"""After an exception in the middle of a call the next restore begins with a clean instance."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium as gym
import pytest

import leafe_gym as lg
from leafe_gym import errors
from leafe_gym.envs.space import TextSpace
from leafe_gym.wrappers import EpisodeStart

BACKENDS = ("native", "pickle", "deepcopy", "replay")


class Todo(gym.Env[str, str]):
    """Collects what is to do during a step, and forgets it at the end of the step."""

    def __init__(self) -> None:
        self.observation_space = self.action_space = TextSpace()
        self.todo: list[str] = []
        self.count = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.clean()
        self.count = 0
        if (options or {}).get("fail"):
            self.todo.append("half reset")
            raise RuntimeError("reset fails")
        return "start", {}

    def clean(self) -> None:
        self.todo.clear()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.todo.append(action)
        self.fail(action)
        self.count += 1
        shown = f"{self.count}: {'+'.join(self.todo)}"
        self.todo.clear()
        return shown, 0.0, False, False, {}

    def fail(self, action: str) -> None:
        if action == "boom":
            raise RuntimeError("boom")

    def get_state(self) -> int:
        return self.count

    def set_state(self, state: int) -> None:
        self.count = state


class KeepsInReset(Todo):
    """Only a new instance is clean."""

    def clean(self) -> None:
        """Left as it is."""


class Interrupted(Todo):
    def fail(self, action: str) -> None:
        if action == "boom":
            raise KeyboardInterrupt


class BadReward(Todo):
    """The step is complete, but its outcome is refused."""

    def step(self, action: str) -> Any:
        if action == "boom":
            self.todo.append("boom")
            return "?", float("nan"), False, False, {}
        return super().step(action)


class FailsInLoad(Todo):
    """Raises once in the middle of `set_state`."""

    broken = False

    def set_state(self, state: int) -> None:
        if FailsInLoad.broken:
            FailsInLoad.broken = False
            self.todo.append("half loaded")
            raise RuntimeError("set_state fails")
        super().set_state(state)


class Half(gym.Wrapper[Any, Any, Any, Any]):
    """A wrapper that counts before the step and is thrown out of it."""

    pending = 0

    def step(self, action: Any) -> Any:
        self.pending += 1
        observation, *rest = super().step(action)
        self.pending -= 1
        return (f"{observation} ({self.pending})", *rest)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("cls", [Todo, KeepsInReset, Interrupted, BadReward])
def test_after_a_step(backend: str, cls: type[Todo]) -> None:
    env = lg.RollbackWrapper(
        Half(cls()), backend, factory=lambda: Half(cls()), probe_actions=["a", "b"]
    )
    env.reset(seed=0)
    assert env.step("first")[0] == "1: first (0)"
    snapshot = env.snapshot()
    for _ in range(2):
        with pytest.raises((RuntimeError, KeyboardInterrupt, errors.EnvironmentFailure)):
            env.step("boom")
        with pytest.raises(errors.ResetNeeded):
            env.step("left")
        env.restore(snapshot)
        assert env.step("left")[0] == "2: left (0)"
        assert env.rollback(1)[0] == "1: first (0)"
        assert env.step("right")[0] == "2: right (0)"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("cls", [Todo, KeepsInReset])
def test_after_a_reset(backend: str, cls: type[Todo]) -> None:
    env = lg.RollbackWrapper(cls(), backend, factory=cls, probe_actions=["a", "b"])
    env.reset(seed=0)
    env.step("first")
    snapshot = env.snapshot()
    with pytest.raises(RuntimeError, match="reset fails"):
        env.reset(seed=0, options={"fail": True})
    with pytest.raises(errors.ResetNeeded):
        env.step("left")
    env.restore(snapshot)
    assert env.step("left")[0] == "2: left"


def test_after_an_exception_and_a_reset() -> None:
    env = lg.RollbackWrapper(
        KeepsInReset(), "native", factory=KeepsInReset, probe_actions=["a", "b"]
    )
    env.reset(seed=0)
    env.step("first")
    snapshot = env.snapshot()
    with pytest.raises(RuntimeError, match="boom"):
        env.step("boom")
    env.reset(seed=1)
    env.restore(snapshot)
    assert env.step("left")[0] == "2: left"


def test_after_a_restore() -> None:
    env = lg.RollbackWrapper(FailsInLoad(), "native", factory=FailsInLoad, probe_actions=["a", "b"])
    env.reset(seed=0)
    env.step("first")
    snapshot = env.snapshot()
    FailsInLoad.broken = True
    with pytest.raises(errors.BackendError, match="set_state fails"):
        env.restore(snapshot)
    env.restore(snapshot)
    assert env.step("left")[0] == "2: left"


def test_without_a_factory_the_instance_is_reset() -> None:
    env = lg.RollbackWrapper(Todo(), "native", probe_actions=["a", "b"])
    env.reset(seed=0)
    env.step("first")
    snapshot = env.snapshot()
    inner = env.unwrapped
    with pytest.raises(RuntimeError, match="boom"):
        env.step("boom")
    env.restore(snapshot)
    assert env.step("left")[0] == "2: left"
    assert env.unwrapped is inner


def judge(reward: float, terminated: bool, info: dict[str, Any]) -> bool:
    raise ZeroDivisionError


@pytest.mark.parametrize("value", ["yes", None, 2, [True]])
@pytest.mark.parametrize("backend", ["native", "replay"])
def test_a_won_rule_that_fails_leaves_no_step_behind(backend: str, value: Any) -> None:
    calls = [True]

    def rule(reward: float, terminated: bool, info: dict[str, Any]) -> Any:
        if calls.pop():
            return False
        if value is None:
            raise ZeroDivisionError
        return value

    env = lg.RollbackWrapper(Todo(), backend, won=rule, factory=Todo, probe_actions=["a", "b"])
    env.reset(seed=0)
    calls.append(True)
    env.step("first")
    snapshot = env.snapshot()
    calls.append(False)
    with pytest.raises(ZeroDivisionError if value is None else errors.UsageError):
        env.step("lost")
    with pytest.raises(errors.ResetNeeded, match="won="):
        env.step("left")
    env.restore(snapshot)
    assert env.steps == 1
    calls.append(True)
    assert env.step("left")[0] == "2: left"


class Given(gym.Env[Any, Any]):
    """Changes whatever it is given and whatever it gave."""

    def __init__(self) -> None:
        self.observation_space = self.action_space = TextSpace()
        self.seen: list[Any] = []
        self.shown: dict[str, Any] = {}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        options = options if options is not None else {}
        level = options.pop("level", 1)
        path = options.get("path", [])
        path.append("used")
        self.seen = [level, len(path)]
        self.shown = {"cells": [level]}
        return self.shown, {"instruction": "go", "list": self.seen}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if isinstance(action, list):
            self.seen.append(len(action))
            action.append("more")
        elif isinstance(action, dict):
            self.seen.append(action.pop("x", 0))
        elif isinstance(action, Box):
            self.seen.append(len(action.items))
            action.items.append("more")
        else:
            self.seen.append(float(sum(action)))
            action *= 0.5
        self.shown["cells"].append(self.seen[-1])
        return self.shown, 0.0, False, False, {"list": self.seen}


class Box:
    def __init__(self, *items: Any) -> None:
        self.items = list(items)


def actions() -> list[Any]:
    import numpy as np

    shared = ["s"]
    return [["a"], {"x": 3}, np.ones(3), Box(1, 2), [shared, shared]]


@pytest.mark.parametrize("backend", ["pickle", "replay"])
def test_what_the_environment_changes_is_not_the_log(backend: str) -> None:
    env = lg.RollbackWrapper(
        Given(), backend, factory=Given, probe_actions=[["a"], ["a", "b"], {"x": 1}]
    )
    start = copy.deepcopy(env.reset(seed=0, options={"level": 5, "path": ["one"]})[0])
    shown, snapshots = [], []
    for action in actions():
        shown.append(copy.deepcopy(env.step(action)[0]))
        snapshots.append(env.snapshot())
    for _ in range(2):
        for snapshot, expected in zip(reversed(snapshots), reversed(shown), strict=True):
            observation, info = env.restore(snapshot)
            assert observation == expected
            observation["cells"].clear()
            info["list"].clear()
        assert env.rollback(0)[0] == start
        for action, expected in zip(actions(), shown, strict=True):
            assert env.step(action)[0] == expected


def test_transitions_are_copies() -> None:
    env = lg.RollbackWrapper(Given(), "replay", factory=Given)
    env.reset(seed=0, options={"level": 5})
    shown = copy.deepcopy(env.step(Box(1))[0])
    snapshot = env.snapshot()
    move = env.transitions[0]
    move.action.items.clear()
    move.observation["cells"].clear()
    assert env.restore(snapshot)[0] == shown
    assert env.replay(env.transitions, EpisodeStart(0, options={"level": 5}))


def test_the_caller_may_reuse_its_action() -> None:
    class Keeps(Given):
        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            self.seen.append(action)
            return repr(self.seen[2:]), 0.0, False, False, {}

    env = lg.RollbackWrapper(Keeps(), "replay", factory=Keeps)
    env.reset(seed=0)
    action = [1]
    env.step(action)
    action[0] = 2
    shown = env.step(action)[0]
    snapshot = env.snapshot()
    assert shown == "[[1], [2]]"
    assert env.restore(snapshot)[0] == shown
