"""Gymnasium's toy-text environments in words."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env

import leafe_gym as lg
from leafe_gym.envs.adapters.toy_text import ToyTextEnv
from leafe_gym.errors import ResetNeeded, UsageError

IDS = {
    "leafe/FrozenLake-v0": "FrozenLake-v1",
    "leafe/Taxi-v0": "Taxi-v4",
    "leafe/CliffWalking-v0": "CliffWalking-v1",
    "leafe/Blackjack-v0": "Blackjack-v1",
}
each = pytest.mark.parametrize("env_id", IDS)


def made(env_id: str, **kwargs: Any) -> ToyTextEnv:
    env = gym.make(env_id, **kwargs).unwrapped
    assert isinstance(env, ToyTextEnv)
    return env


@each
def test_gymnasium_contract(env_id: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*TextSpace.*")
        check_env(made(env_id, render_mode="ansi"))


@each
def test_rollback_contract(env_id: str) -> None:
    report = lg.check_rollback(env_id)
    report.raise_for_failures()
    assert report.verdict("native").outcome == "right", str(report)
    assert report.won_rule == "info"


@each
def test_same_episode_as_gymnasium(env_id: str, counts: Any) -> None:
    ours, theirs = made(env_id, max_steps=None), gym.make(IDS[env_id]).unwrapped
    for seed in range(counts(20, 200)):
        _, info = ours.reset(seed=seed)
        theirs.reset(seed=seed)
        theirs.action_space.seed(seed)
        assert info["instruction"].endswith(f"Actions: {', '.join(ours.words)}.")
        for _ in range(60):
            action = theirs.action_space.sample()
            _, reward, terminated, truncated, info = ours.step(ours.words[int(action)])
            _, r, t, _, _ = theirs.step(action)
            assert (reward, terminated, truncated) == (float(r), bool(t), False)
            if terminated:
                break


@each
def test_state_is_small_and_flat(env_id: str) -> None:
    env = made(env_id)
    env.reset(seed=3)
    mark = env.get_state()
    before = env.describe()
    luck = env.np_random.bit_generator.state
    first = env.step(env.words[-1])
    env.set_state(mark)
    env.np_random.bit_generator.state = luck
    assert env.describe() == before
    assert env.step(env.words[-1]) == first


def test_unknown_word_costs_a_step() -> None:
    env = made("leafe/FrozenLake-v0", max_steps=2)
    env.reset(seed=0)
    observation, reward, terminated, truncated, info = env.step("jump")
    assert observation.startswith("'jump' is not an action")
    assert (reward, terminated, truncated, info["won"]) == (0.0, False, False, False)
    assert "use one of left, down, right, up" in info["feedback"]
    assert env.step(" LEFT ")[3]
    with pytest.raises(ResetNeeded):
        env.step("left")


def test_winning_and_losing() -> None:
    lake = made("leafe/FrozenLake-v0", is_slippery=False)
    lake.reset(seed=0)
    for word in ("down", "down", "right", "right", "down"):
        lake.step(word)
    observation, reward, terminated, _, info = lake.step("right")
    assert observation.startswith("You reached the goal.")
    assert (reward, terminated, info["won"], info["score"]) == (1.0, True, True, 1.0)

    cliff = made("leafe/CliffWalking-v0")
    cliff.reset(seed=0)
    assert cliff.step("right")[0].startswith("You fell off the cliff")
    for word in ("up", *["right"] * 11, "down"):
        observation, reward, terminated, _, info = cliff.step(word)
    assert (reward, terminated, info["won"]) == (-1.0, True, True)


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [({"max_steps": 0}, "max_steps=0"), ({"render_mode": "human"}, "render_mode='human'")],
)
def test_bad_arguments(kwargs: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        lg.envs.adapters.toy_text.FrozenLakeEnv(**kwargs)


def test_bad_calls() -> None:
    env = made("leafe/Taxi-v0")
    with pytest.raises(ResetNeeded):
        env.step("north")
    with pytest.raises(UsageError, match="unknown reset options"):
        env.reset(options={"level": 3})
    env.reset(seed=1)
    with pytest.raises(UsageError, match="give a string"):
        env.step(1)  # type: ignore[arg-type]
