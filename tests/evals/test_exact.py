"""Exact chances agree with sampling, and sampling with the agents."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import leafe_gym as lg
from leafe_gym.evals.exact import Chain
from leafe_gym.evals.reproduce.levels import Levels, recovery_pool
from leafe_gym.evals.reproduce.setting import EVERY
from leafe_gym.policies.base import policy
from leafe_gym.tiny.pretrain import HORIZON
from leafe_gym.tiny.words import vocabulary

NETWORK = policy("tiny").network  # type: ignore[attr-defined]
LEVELS = Levels.of("val", 12)
assert vocabulary()


def test_success_is_what_sampling_finds(counts: Callable[[int, int], int]) -> None:
    samples = counts(400, 5000)
    chain = LEVELS.chain(NETWORK)
    exact = chain.success()
    starts = np.repeat(LEVELS.graph.starts, samples)
    won = chain.sample(starts, np.random.default_rng(0)).won.reshape(-1, samples).mean(axis=1)
    error = np.sqrt(np.maximum(exact * (1 - exact), 1e-4) / samples)
    assert (np.abs(won - exact) < 4 * error).all(), "each level; 4 errors because there are twelve"
    assert abs(won.mean() - exact.mean()) < 3 * np.sqrt((error**2).sum()) / len(exact)


def test_success_is_what_independent_sampling_finds(tmp_path: Path) -> None:
    agent = lg.IndependentSamplingAgent(policy("tiny"), **EVERY)
    with lg.explore(
        agent,
        LEVELS.tasks,
        budget=lg.Budget(calls=500),
        out=tmp_path,
        stop="budget",
        concurrency=12,
    ) as run:
        # 500 calls are 20 whole attempts even where each takes all 12 steps.
        won = np.array([[branch.won for branch in tree.branches[:20]] for tree in run.trees()])
    exact = LEVELS.chain(NETWORK).success()
    error = np.sqrt((exact * (1 - exact) / 20).sum()) / len(exact)
    assert won.shape == (12, 20)
    assert abs(won.mean() - exact.mean()) < 3 * error


def test_uniform_policy_by_hand() -> None:
    chain = Chain(LEVELS.graph, lambda states, _: np.full((len(states), 4), 0.25), HORIZON)
    start = int(LEVELS.graph.starts[0])
    near = np.flatnonzero((LEVELS.graph.distance == 1) & (LEVELS.graph.level == 0))[:1]
    ways = LEVELS.graph.won[LEVELS.graph.next[near[0]]].mean()
    assert chain.success(near, np.array([HORIZON - 1]))[0] == pytest.approx(ways)
    assert chain.success(near, np.array([HORIZON]))[0] == 0
    assert 0 < chain.success(np.array([start]))[0] < 0.2


def test_replies_without_action_are_failures() -> None:
    half = Chain(LEVELS.graph, lambda states, _: np.full((len(states), 4), 0.125), HORIZON)
    full = Chain(LEVELS.graph, lambda states, _: np.full((len(states), 4), 0.25), HORIZON)
    assert (half.success() <= full.success() * 0.5**5 + 1e-12).all(), "solutions take 5 or more"


def test_pool_states_are_mistakes_that_can_be_undone() -> None:
    levels = Levels.of("val", 60)
    pool = recovery_pool(levels, NETWORK, seed=0)
    again = recovery_pool(levels, NETWORK, seed=0)
    assert len(pool.states) > 10
    assert (pool.states == again.states).all()
    assert len(set(pool.level.tolist())) == len(pool.level)
    distance = levels.graph.distance[pool.states]
    assert (HORIZON - pool.steps >= distance + 2).all()
    assert (levels.graph.level[pool.states] == pool.level).all()
    assert (pool.steps >= 1).all()
