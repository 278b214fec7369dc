"""Exact chances agree with sampling, and sampling with the agents."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import leafe_gym as lg
from leafe_gym.evals.reproduce.exact import PolicyChain
from leafe_gym.evals.reproduce.levels import LevelSet, recovery_pool
from leafe_gym.evals.reproduce.protocol import AGENT
from leafe_gym.evals.samplers import make_agent
from leafe_gym.policies.base import policy
from leafe_gym.prompts.tiny import inside
from leafe_gym.tiny.policy import TinyPolicy
from leafe_gym.tiny.words import SMALL, UNKNOWN

NETWORK = policy("tiny").network  # type: ignore[attr-defined]
LEVELS = LevelSet.of("val", 12)


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
    agent = make_agent("is", policy("tiny"), AGENT)
    with lg.explore(
        agent,
        LEVELS.tasks,
        budget=lg.Budget(interactions=500),
        out=tmp_path,
        concurrency=12,
        config=lg.ExploreConfig(stop="budget"),
    ) as run:
        # 500 interactions are 20 whole attempts even where each takes all 12 steps.
        won = np.array([[branch.won for branch in tree.branches[:20]] for tree in run.trees()])
    exact = LEVELS.chain(NETWORK).success()
    error = np.sqrt((exact * (1 - exact) / 20).sum()) / len(exact)
    assert won.shape == (12, 20)
    assert abs(won.mean() - exact.mean()) < 3 * error


def test_uniform_policy_by_hand() -> None:
    chain = PolicyChain(
        LEVELS.graph, lambda states, _: np.full((len(states), 4), 0.25), SMALL.steps
    )
    start = int(LEVELS.graph.starts[0])
    near = np.flatnonzero((LEVELS.graph.distance == 1) & (LEVELS.graph.level == 0))[:1]
    ways = LEVELS.graph.won[LEVELS.graph.next[near[0]]].mean()
    assert chain.success(near, np.array([SMALL.steps - 1]))[0] == pytest.approx(ways)
    assert chain.success(near, np.array([SMALL.steps]))[0] == 0
    assert 0 < chain.success(np.array([start]))[0] < 0.2


def confused() -> TinyPolicy:
    """The small model after an accident: many of its replies hold no action."""
    network = copy.deepcopy(NETWORK)
    dice = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in network.parameters():
            weights += 0.06 * torch.randn(weights.shape, generator=dice)
    return TinyPolicy(network)


def test_replies_without_action_are_what_they_are_for_the_agents(tmp_path: Path) -> None:
    policy = confused()
    agent = make_agent("is", policy, AGENT.replace(max_attempts=40))
    with lg.explore(
        agent, LEVELS.tasks, budget=lg.Budget(interactions=10**6), out=tmp_path, concurrency=12
    ) as run:
        trees = list(run.trees())
    bad = np.mean([s.action is None for t in trees for b in t.branches for s in b.steps])
    assert 0.1 < bad < 0.9
    chain = LEVELS.chain(policy.network)
    exact = chain.success()
    error = np.sqrt((exact * (1 - exact) / 40).sum()) / len(exact)
    won = np.mean([branch.won for tree in trees for branch in tree.branches])
    assert abs(won - exact.mean()) < 3 * error

    episodes = chain.sample(np.repeat(LEVELS.graph.starts, 400), np.random.default_rng(0))
    error = np.sqrt((exact * (1 - exact) / 400).sum()) / len(exact)
    assert abs(episodes.won.mean() - exact.mean()) < 3 * error
    spent = np.mean([tree.spent.interactions / len(tree.branches) for tree in trees])
    assert episodes.interactions.mean() == pytest.approx(spent, rel=0.1)


def test_pool_states_are_mistakes_that_can_be_undone() -> None:
    levels = LevelSet.of("val", 60)
    pool = recovery_pool(levels, NETWORK, seed=0)
    again = recovery_pool(levels, NETWORK, seed=0)
    assert len(pool.states) > 10
    assert (pool.states == again.states).all()
    assert len(set(pool.level.tolist())) == len(pool.level)
    distance = levels.graph.distance[pool.states]
    assert (SMALL.steps - pool.steps >= distance + 2).all()
    assert (levels.graph.level[pool.states] == pool.level).all()
    assert (pool.steps >= 1).all()


def test_rows_without_a_word_are_unknown_and_the_rest_is_played() -> None:
    levels = LevelSet.of("test", 12, boxes=2)
    unknown = SMALL.words[UNKNOWN]
    for board, rows in zip(levels.graph.boards, levels.rows, strict=True):
        for row, word in zip(inside(board), rows, strict=True):
            twice = max(sum(map(row.count, "$*")), sum(map(row.count, ".*+"))) > 1
            assert (word == unknown) == twice
    chain = levels.chain(NETWORK)
    exact = chain.success()
    count = 300
    won = chain.sample(np.repeat(levels.graph.starts, count), np.random.default_rng(0)).won
    error = np.sqrt((exact * (1 - exact)).sum() / count)
    assert 0 < exact.sum() < 6
    assert abs(won.reshape(-1, count).mean(axis=1).sum() - exact.sum()) <= 3 * error
