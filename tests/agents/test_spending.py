"""Budgets hold for every limit, and the ledger can be counted again from the tree."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from toy_agents import Player, actions, canonical, ledger, lock, noisy, recharge, recount

import leafe_gym as lg
from leafe_gym.agents.agent import Agent
from leafe_gym.budget import Budget
from leafe_gym.store.records import branch_json
from leafe_gym.tree import Tree
from leafe_gym.types import Completion, Usage

AGENTS: dict[str, Any] = {
    "tree": lambda p: lg.ReflectiveTreeAgent(
        p, lg.AgentConfig(reflect_every=3, attempts_per_root=5, reflections=2)
    ),
    "is": lg.IndependentSamplingAgent,
    "ir": lg.IterativeRefinementAgent,
}


def spend(agent: Agent, env: lg.RollbackWrapper, budget: Budget, concurrency: int = 1) -> Tree:
    return asyncio.run(
        agent.arun(env, budget=budget, stop="budget", seed=5, concurrency=concurrency)
    )


@pytest.mark.parametrize("method", AGENTS)
def test_no_limit_of_calls_is_ever_exceeded(method: str, counts: Callable[[int, int], int]) -> None:
    env = lock("abab")
    agent: Agent = AGENTS[method](noisy())
    whole = spend(agent, env, Budget(interactions=200))
    assert len(whole.branches) > 12
    for limit in range(2, 201, counts(5, 1) if method == "tree" else 5):
        tree = spend(agent, env, Budget(interactions=limit))
        assert limit - 1 <= tree.spent.interactions <= limit
        assert tree.spent.overhead_model_calls == 0, (
            "nothing is asked for that the budget cannot hold"
        )
        assert tree.stopped == "budget"
        assert ledger(tree) == recount(tree)
        *full, last = tree.branches
        assert [branch_json(b) for b in full] == [
            branch_json(b) for b in whole.branches[: len(full)]
        ]
        same = whole.branches[last.id]
        assert last.steps == same.steps[: len(last.steps)]
        assert last.reflections == same.reflections[: len(last.reflections)]
        if len(last.steps) < len(same.steps):
            assert last.ending == "budget"


def test_the_cut_attempt_is_not_reflected_on() -> None:
    player = Player()
    tree = spend(lg.ReflectiveTreeAgent(player), lock("bbbb"), Budget(interactions=7))
    assert [(b.ending, len(b.steps)) for b in tree.branches] == [("budget", 3)]
    assert not player.reflections


def test_one_call_buys_nothing() -> None:
    tree = spend(AGENTS["tree"](Player()), lock(), Budget(interactions=1))
    assert (tree.branches, tree.spent.interactions, tree.stopped) == ([], 0, "budget")


@pytest.mark.parametrize("concurrency", [1, 8])
def test_replays_are_charged_on_request(concurrency: int) -> None:
    for limit in range(2, 90, 3):
        env = lock("bbbbbb")
        budget = Budget(interactions=limit, replay_cost=True)
        tree = spend(AGENTS["tree"](noisy()), env, budget, concurrency)
        assert tree.spent.interactions <= limit
        assert ledger(tree) == recount(tree, replay_cost=True)
    assert tree.spent.rollback_steps > 0


def test_going_back_is_free_whatever_it_takes() -> None:
    trees = {
        backend: spend(AGENTS["tree"](noisy()), lock("abab", backend), Budget(interactions=120))
        for backend in ("native", "replay", "deepcopy")
    }
    assert trees["replay"].spent.replayed_steps > 0 == trees["native"].spent.replayed_steps
    assert canonical(trees["native"]) == canonical(trees["replay"]) == canonical(trees["deepcopy"])


@pytest.mark.parametrize("unit", ["tokens_total", "tokens_uncached"])
@pytest.mark.parametrize("method", AGENTS)
def test_token_budgets_stop_with_the_call_that_crosses_them(unit: str, method: str) -> None:
    env = lock("abab")
    for limit in (1, 300, 5000, 12_000):
        limits: dict[str, Any] = {unit: limit}
        tree = spend(AGENTS[method](noisy()), env, Budget(**limits))
        assert tree.stopped == "budget"
        assert getattr(tree.spent, unit) >= limit
        assert ledger(tree) == recount(tree)
        before, after = recharge(tree, AGENTS[method](noisy()))
        assert getattr(before, unit) < limit
        assert after.tokens_total == tree.spent.tokens_total
        assert after.tokens_uncached == tree.spent.tokens_uncached


def test_what_the_policy_reports_is_what_is_charged() -> None:
    player = Player(usage=Usage(prompt_tokens=100, completion_tokens=7))
    tree = spend(lg.ReflectiveTreeAgent(player), lock("ab"), Budget(interactions=11))
    made = tree.spent.act_calls + tree.spent.reflect_calls
    assert tree.spent.prompt_tokens == 100 * made
    assert tree.spent.completion_tokens == 7 * made
    assert 0 < tree.spent.shared_tokens < tree.spent.prompt_tokens


def test_an_empty_model_uses_any_budget_up() -> None:
    player = Player()
    agent = lg.ReflectiveTreeAgent(lambda messages: "")
    for budget in (Budget(interactions=30), Budget(tokens_total=9000), Budget(tokens_uncached=300)):
        tree = asyncio.run(asyncio.wait_for(agent.arun(lock(), budget=budget), 30))
        assert tree.stopped == "budget"
        assert {b.ending for b in tree.branches[:-1]} <= {"unparsable"}
        assert actions(tree, 0).strip("?") == ""
    assert not player.seen


def test_speculative_work_is_overhead() -> None:
    env = lock("abab")
    player = noisy(delay=0.001)
    alone = spend(AGENTS["is"](noisy()), env, Budget(interactions=40))
    beside = spend(AGENTS["is"](player), env, Budget(interactions=40), concurrency=16)
    assert canonical(alone) == canonical(beside)
    assert alone.spent.overhead_model_calls == 0
    assert beside.spent.overhead_model_calls == len(player.seen) - beside.spent.act_calls > 0


def test_failed_tries_are_overhead() -> None:
    def tried_twice(messages: Any) -> Completion:
        return Completion(text="Action: a", retries=2)

    tree = spend(lg.IndependentSamplingAgent(tried_twice), lock("bb"), Budget(interactions=8))
    assert (tree.spent.interactions, tree.spent.overhead_retries) == (8, 8)
