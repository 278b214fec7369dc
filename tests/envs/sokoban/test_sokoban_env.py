"""The Gymnasium side: contract, arguments, state."""

from __future__ import annotations

import inspect
import pickle
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st

import leafe_gym  # noqa: F401  (registers the environments)
from leafe_gym.envs.sokoban.config import SokobanConfig
from leafe_gym.envs.sokoban.env import SokobanEnv
from leafe_gym.errors import ResetNeeded, UsageError

actions = st.lists(st.sampled_from(["up", "down", "left", "right", "?"]), max_size=30)


@pytest.mark.parametrize("kwargs", [{}, {"render_mode": "ansi"}, {"size": 5, "boxes": 1}])
def test_check_env(kwargs: dict[str, Any]) -> None:
    check_env(gym.make("leafe_gym:leafe/Sokoban-v0", **kwargs).unwrapped)


def test_first_info() -> None:
    observation, info = SokobanEnv(max_steps=33).reset(seed=1)
    assert observation.count("@") + observation.count("+") == 1
    assert info["won"] is False
    assert info["score"] == 0.0
    assert info["admissible_commands"] == ["up", "down", "left", "right"]
    for part in ("$", ".", "@", "#", "-", "*", "+", "up, down, left, right", "33 steps"):
        assert part in info["instruction"]


def test_render() -> None:
    env = SokobanEnv(render_mode="ansi")
    observation, _ = env.reset(seed=3)
    assert env.render() == observation
    plain = SokobanEnv()
    plain.reset(seed=3)
    assert plain.render() is None


def test_a_reset_is_needed() -> None:
    env = SokobanEnv()
    for use in (lambda: env.step("up"), env.get_state, env.distance, env.solve):
        with pytest.raises(ResetNeeded, match="reset"):
            use()
    env.reset(options={"board": "#####\n#@$.#\n#####"})
    assert env.step("right")[2]
    with pytest.raises(ResetNeeded):
        env.step("left")


def test_only_text_is_an_action() -> None:
    env = SokobanEnv()
    env.reset(seed=0)
    for action in (None, 3, ["up"]):
        with pytest.raises(UsageError, match="give a string"):
            env.step(action)  # type: ignore[arg-type]


def test_reset_options() -> None:
    env = SokobanEnv()
    with pytest.raises(UsageError, match="unknown reset options"):
        env.reset(options={"bord": ""})
    with pytest.raises(UsageError, match="no box"):
        env.reset(options={"board": "###\n#@#\n###"})


def test_solutions() -> None:
    env = SokobanEnv()
    env.reset(seed=11)
    solution = env.solve()
    assert solution is not None
    assert env.distance() == len(solution)
    rewards = [env.step(action)[1] for action in solution]
    assert round(sum(rewards), 1) == round(10 + 2 - 0.1 * len(solution), 1)
    assert env.distance() == 0
    assert env.solve(optimal=False) == []


@given(st.integers(0, 1000), actions, actions)
def test_a_restored_state_has_the_same_future(seed: int, past: list[str], then: list[str]) -> None:
    env, other = SokobanEnv(max_steps=40), SokobanEnv(max_steps=40)
    env.reset(seed=seed)
    over = False
    for action in past:
        over = over or any(env.step(action)[2:4])
        if over:
            return
    state = env.get_state()
    assert len(pickle.dumps(state)) < 2048
    future = play(env, then)
    env.set_state(state)
    assert env.get_state() == state
    assert play(env, then) == future
    other.set_state(pickle.loads(pickle.dumps(state)))
    assert play(other, then) == future


@given(st.integers(0, 1000), actions)
def test_a_level_called_lost_is_lost(seed: int, tried: list[str]) -> None:
    env = SokobanEnv(size=6)
    env.reset(seed=seed)
    for action in tried:
        _, _, terminated, _, info = env.step(action)
        if terminated:
            return
        if "lost" in info["feedback"]:
            assert env.distance() is None
            return


def play(env: SokobanEnv, actions: list[str]) -> list[Any]:
    steps = []
    for action in actions:
        steps.append(env.step(action))
        if steps[-1][2] or steps[-1][3]:
            break
    return steps


def test_a_level_file(tmp_path: Path) -> None:
    path = tmp_path / "two.txt"
    boards = ["#####\n#@$.#\n#####", "######\n#@$-.#\n######"]
    path.write_text(f"; 0\n{boards[0]}\n\n; 1\n{boards[1]}\n")
    assert SokobanEnv(data=path, level=1).reset(seed=0)[0] == boards[1]
    env = SokobanEnv(data=str(path))
    assert {env.reset(seed=seed)[0] for seed in range(20)} == set(boards)
    with pytest.raises(UsageError, match="levels 0 to 1"):
        SokobanEnv(data=path, level=2)
    split = SokobanEnv.tasks("all", data=path)[0].split
    assert boards[0] == SokobanEnv(data=path, level=0, split=split).reset(seed=0)[0]
    other = {"train": "val", "val": "test", "test": "train"}[split]
    with pytest.raises(UsageError, match="split"):
        SokobanEnv(data=path, level=0, split=other)
    path.write_text(f"; the first one only\n{boards[0]}\n")
    with pytest.raises(UsageError, match=f"has no level of split '{other}'"):
        SokobanEnv(data=path, split=other)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"size": 2}, "size=2: expected a whole number >= 3"),
        ({"size": (7, 51)}, "at most 50 each"),
        ({"size": "77"}, "give two whole numbers"),
        ({"size": (7, 7, 7)}, "give two whole numbers"),
        ({"size": 7.0}, "give two whole numbers"),
        ({"size": True}, "expected a whole number"),
        ({"boxes": 0}, "boxes=0: expected a whole number >= 1"),
        ({"boxes": 13}, "holds at most 12"),
        ({"boxes": "2"}, "boxes='2'"),
        ({"max_steps": 0}, "max_steps=0"),
        ({"pulls": 0}, "pulls=0"),
        ({"inner_walls": (3, 1)}, "fewest first"),
        ({"inner_walls": (0, 25)}, "at most 24"),
        ({"inner_walls": 3}, "give two whole numbers"),
        ({"split": "dev"}, "use one of train, val, test, or None"),
        ({"level": 0}, "needs data="),
        ({"levels": 3}, "give the path"),
        ({"render_mode": "human"}, "use 'ansi' or None"),
    ],
)
def test_bad_arguments(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SokobanEnv(**kwargs)


def test_defaults_are_stated_once() -> None:
    own = dict(inspect.signature(SokobanEnv).parameters)
    assert own.pop("render_mode").default is None
    checked = inspect.signature(SokobanConfig.of).parameters
    assert {n: p.default for n, p in own.items()} == {n: p.default for n, p in checked.items()}
