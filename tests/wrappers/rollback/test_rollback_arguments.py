"""Wrong arguments, and environments that break their contract: errors that name the value."""

from __future__ import annotations

import re
from contextlib import suppress
from functools import cache
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import leafe_gym as lg
from leafe_gym import errors
from leafe_gym.envs.space import TextSpace
from leafe_gym.wrappers import EpisodeStart

UsageError = errors.UsageError
Failure = errors.EnvironmentFailure


class Plain(gym.Env[Any, Any]):
    """Returns what a test wants."""

    def __init__(self, **parts: Any) -> None:
        self.observation_space = self.action_space = TextSpace()
        self.parts = parts
        self.count = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.count = 0
        return self.parts.get("reset", ("start", dict(self.parts.get("reset_info", {}))))

    def step(self, action: Any) -> Any:
        self.count += 1
        parts = {"reward": 1.0, "terminated": True, "truncated": False, "info": {}, **self.parts}
        if "outcome" in parts:
            return parts["outcome"]
        shown = f"count {self.count}"
        flags = (parts["terminated"], parts["truncated"])
        return (shown, parts["reward"], *flags, parts["info"])

    def get_state(self) -> int:
        return self.count

    def set_state(self, state: int) -> None:
        self.count = state


def wrapped(**parts: Any) -> lg.RollbackWrapper:
    """Its backend is verified once for all tests, on an environment that does what it should."""
    return lg.RollbackWrapper(Plain(**parts), "replay", factory=Plain)


def ready(**parts: Any) -> lg.RollbackWrapper:
    env = wrapped(**parts)
    env.reset(seed=0)
    return env


def named(value: Any) -> str:
    """A name that is the same in every process."""
    return re.sub(r" at 0x\w+", "", repr(value))


BAD_SEEDS = ["1", -1, 1.5, True, [1], np.float64(1), np.int64(-1), object(), np.bool_(True), b"1"]


@pytest.mark.parametrize("seed", BAD_SEEDS, ids=named)
def test_seeds(seed: Any) -> None:
    env = ready()
    snapshot = env.snapshot()
    with pytest.raises(UsageError, match="seed must be None or an integer >= 0"):
        env.reset(seed=seed)
    with pytest.raises(UsageError, match="seed must be None or an integer >= 0"):
        env.restore(snapshot, "fresh", seed=seed)
    with pytest.raises(UsageError, match="seed"):
        env.replay([], EpisodeStart(seed))
    assert env.step("a")[0] == "count 1", "the episode goes on after a refused argument"
    for fine in (None, 0, np.int64(3), 2**70):
        env.reset(seed=fine)


@pytest.mark.parametrize("options", ["easy", 1, [("a", 1)], {1}, np.zeros(2)], ids=named)
def test_options(options: Any) -> None:
    with pytest.raises(UsageError, match="options must be None or a dict"):
        ready().reset(seed=0, options=options)


@pytest.mark.parametrize("snapshot", [None, "first", 3, object(), lg.Snapshot], ids=named)
def test_snapshots(snapshot: Any) -> None:
    env = ready()
    for method in (env.restore, env.release, env.discard_data):
        with pytest.raises(UsageError, match="takes a snapshot made by a RollbackWrapper"):
            method(snapshot)


def test_restore() -> None:
    env = ready()
    snapshot = env.snapshot()
    for rng in ("other", None, 1, ["same"]):
        with pytest.raises(UsageError, match="rng="):
            env.restore(snapshot, rng)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="rng='fresh' only"):
        env.restore(snapshot, seed=1)


@pytest.mark.parametrize("to", [-1, 2, "0", 0.0, True, None, np.float64(0)], ids=named)
def test_rollback(to: Any) -> None:
    env = ready()
    env.step("a")
    with pytest.raises(UsageError, match="must be an integer from 0 to 1"):
        env.rollback(to)


@pytest.mark.parametrize("moves", ["ab", None, [1], ["a"], [("a", "b")], 3], ids=named)
def test_replay(moves: Any) -> None:
    with pytest.raises(UsageError, match="Transition"):
        ready().replay(moves)
    with pytest.raises(UsageError, match="EpisodeStart"):
        ready().replay([], 3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backend": None}, "backend must be"),
        ({"backend": 3}, "backend must be"),
        ({"backend": object()}, "backend must be"),
        ({"backend": "natvie"}, "natvie"),
        ({"won": "info"}, "won must be a function"),
        ({"won": True}, "won must be a function"),
        ({"factory": Plain()}, "factory must be a function"),
        ({"factory": "Plain"}, "factory must be a function"),
        ({"probe_actions": "left"}, "probe_actions must be a list"),
        ({"probe_actions": 4}, "probe_actions must be a list"),
    ],
    ids=named,
)
def test_constructor(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        lg.RollbackWrapper(Plain(), **arguments)


@pytest.mark.parametrize("env", [None, "leafe/Sokoban-v0", Plain, object()], ids=named)
def test_what_is_no_environment(env: Any) -> None:
    with pytest.raises(UsageError, match=r"needs a gymnasium\.Env"):
        lg.RollbackWrapper(env)


TRUE = [True, np.bool_(True), 1, 1.0, np.int64(1), np.array(True), np.array([1])]
BAD_FLAGS: list[Any] = ["False", "True", "", None, 2, 0.5, [True], np.array([1, 0]), {}, object()]


@pytest.mark.parametrize("key", ["won", "is_success"])
@pytest.mark.parametrize("value", TRUE, ids=named)
def test_success_in_the_info(key: str, value: Any) -> None:
    env = ready(info={key: value}, reward=-1.0)
    assert env.step("a")[4]["won"] is True
    assert env.restore(env.snapshot())[1]["won"] is True
    assert env.won_rule == "info"


@pytest.mark.parametrize("key", ["won", "is_success"])
@pytest.mark.parametrize("value", BAD_FLAGS, ids=named)
def test_success_that_is_no_flag(key: str, value: Any) -> None:
    with pytest.raises(Failure, match=rf"info\['{key}'\]; it must be True or False"):
        ready(info={key: value}).step("a")


@pytest.mark.parametrize("key", ["terminated", "truncated"])
@pytest.mark.parametrize("value", BAD_FLAGS, ids=named)
def test_endings_that_are_no_flags(key: str, value: Any) -> None:
    with pytest.raises(Failure, match=f"as {key}; it must be True or False"):
        ready(**{key: value}).step("a")


@pytest.mark.parametrize("key", ["terminated", "truncated"])
@pytest.mark.parametrize("value", TRUE, ids=named)
def test_endings_of_other_types_are_flags(key: str, value: Any) -> None:
    outcome = ready(**{key: value}).step("a")
    assert (outcome[2] if key == "terminated" else outcome[3]) is True


@pytest.mark.parametrize(
    "parts",
    [
        {"outcome": ("o", 1.0, True, {})},
        {"outcome": None},
        {"outcome": "abcde"[:4]},
        {"outcome": ("o", 1.0, True, False, None)},
        {"outcome": ("o", 1.0, True, False, [])},
        {"outcome": ("o", "much", True, False, {})},
        {"outcome": ("o", None, True, False, {})},
        {"outcome": ("o", float("inf"), True, False, {})},
        {"outcome": ("o", np.zeros(3), True, False, {})},
    ],
    ids=named,
)
def test_outcomes_that_are_none(parts: dict[str, Any]) -> None:
    env = ready(**parts)
    with pytest.raises(Failure, match="step 0"):
        env.step("a")
    with pytest.raises(errors.ResetNeeded):
        env.step("a")


@pytest.mark.parametrize(
    "outcome", ["start", None, ("a", "b", {}), ("a", None), ("a", [])], ids=named
)
def test_resets_that_are_none(outcome: Any) -> None:
    env = wrapped(reset=outcome)
    with pytest.raises(Failure, match=r"reset\(seed=0\)"):
        env.reset(seed=0)


COMMANDS = [
    {"up", "down", "left"},
    frozenset({"up", "down", "left"}),
    np.array(["down", "left", "up"]),
    ("down", "left", "up"),
    {"down": 1, "left": 2, "up": 3}.keys(),
    (word for word in ("down", "left", "up")),
    ["down", "left", "up"],
]


@pytest.mark.parametrize("commands", COMMANDS, ids=lambda one: type(one).__name__)
def test_commands_are_a_list_in_a_fixed_order(commands: Any) -> None:
    env = ready(info={"admissible_commands": commands}, reset_info={"admissible_commands": ["up"]})
    expected = ["down", "left", "up"]
    info = env.step("a")[4]
    assert info["admissible_commands"] == expected
    assert type(info["admissible_commands"]) is list
    assert env.transitions[-1].info["admissible_commands"] == expected
    first = wrapped(reset_info={"admissible_commands": {"b", "a"}})
    assert first.reset(seed=0)[1]["admissible_commands"] == ["a", "b"]


@pytest.mark.parametrize("commands", ["look", 3, b"look", object()], ids=named)
def test_commands_that_are_no_list(commands: Any) -> None:
    with pytest.raises(Failure, match="must be a list of actions"):
        ready(info={"admissible_commands": commands}).step("a")


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.builds(object),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@cache
def played() -> lg.RollbackWrapper:
    """One environment for all examples, so that backends are verified once."""
    return ready()


@settings(max_examples=60, deadline=None)
@given(anything, anything)
def test_only_our_errors_come_out(one: Any, other: Any) -> None:
    env = played()
    bare = env.unwrapped

    def play(**parts: Any) -> Any:
        bare.parts = {}
        env.reset(seed=0)
        bare.parts = parts
        return env.step(other) if "reset" not in parts else env.reset(seed=0)

    bare.parts = {}
    env.reset(seed=0)
    snapshot = env.snapshot()
    for call in (
        lambda: env.restore(one, other),
        lambda: env.restore(snapshot, one, seed=other),
        lambda: env.rollback(one),
        lambda: env.release(one),
        lambda: env.discard_data(one),
        lambda: env.replay(one, other),
        lambda: env.reset(seed=one, options=other),
        lambda: lg.RollbackWrapper(one, other),
        lambda: lg.RollbackWrapper(Plain(), one, won=other),
        lambda: lg.RollbackWrapper(Plain(), factory=one, probe_actions=other),
        lambda: play(info={"won": one, "admissible_commands": other}),
        lambda: play(outcome=one),
        lambda: play(reward=one, terminated=other),
        lambda: play(reset=(one, other)),
    ):
        with suppress(errors.LeafeError):
            call()
