"""A tree is a function of the seed and the policy's answers, never of timing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toy_agents import Player, canonical, lock, noisy

import leafe_gym as lg
from leafe_gym.agents.agent import Agent
from leafe_gym.agents.env_pool import EnvPool
from leafe_gym.agents.task_runner import Stop
from leafe_gym.budget import Budget
from leafe_gym.errors import StoreCorrupt
from leafe_gym.types import Experience, Task

AGENTS: dict[str, Callable[[Player], Agent]] = {
    "tree": lambda p: lg.ReflectiveTreeAgent(
        p, lg.AgentConfig(reflect_every=2, attempts_per_root=7, reflections=2)
    ),
    "tree to the end": lambda p: lg.ReflectiveTreeAgent(
        p, lg.AgentConfig(until="end", max_depth=2, reflect_every=3)
    ),
    "best first": lambda p: lg.BestFirstAgent(p, lg.AgentConfig(reflect_every=2, max_depth=3)),
    "is": lg.IndependentSamplingAgent,
    "ir": lg.IterativeRefinementAgent,
}
BUDGETS = [
    Budget(interactions=23),
    Budget(interactions=150),
    Budget(interactions=120, replay_cost=True),
    Budget(tokens_total=20_000),
    Budget(tokens_uncached=3000, interactions=400),
]


@pytest.mark.parametrize("method", AGENTS)
def test_a_tree_does_not_depend_on_concurrency(
    method: str, counts: Callable[[int, int], int]
) -> None:
    for seed in range(counts(2, 10)):
        for budget in BUDGETS:
            alone = one_tree(method, budget, seed, 1)
            assert alone.branches
            for width in (4, 64):
                assert canonical(one_tree(method, budget, seed, width)) == canonical(alone)


def one_tree(
    method: str, budget: Budget, seed: int, concurrency: int, stop: Stop = "budget"
) -> lg.Tree:
    agent = AGENTS[method](noisy(delay=0.001 * (concurrency > 1)))
    call = agent.arun(lock("abba"), budget=budget, seed=seed, stop=stop, concurrency=concurrency)
    return asyncio.run(call)


@pytest.mark.parametrize("method", AGENTS)
def test_nor_does_where_it_is_solved(method: str) -> None:
    for seed in range(5):
        alone = one_tree(method, Budget(interactions=300), seed, 1, stop="solved")
        beside = one_tree(method, Budget(interactions=300), seed, 8, stop="solved")
        assert canonical(alone) == canonical(beside)
        assert alone.stopped in ("solved", "budget")
        assert alone.solved == (alone.stopped == "solved")


def test_other_seeds_give_other_trees() -> None:
    trees = [canonical(one_tree("tree", BUDGETS[1], seed, 1))["branches"] for seed in (0, 1)]
    assert trees[0] != trees[1]


@pytest.mark.parametrize("backend", ["native", "replay"])
def test_snapshots_of_other_slots_change_nothing(backend: str) -> None:
    def grow(concurrency: int) -> Any:
        agent = AGENTS["tree"](noisy(delay=0.001))
        env = lock("abbab", backend)
        budget = Budget(interactions=150)
        return canonical(
            asyncio.run(agent.arun(env, budget=budget, stop="budget", concurrency=concurrency))
        )

    assert grow(1) == grow(16)


@pytest.mark.parametrize("method", ["tree", "is", "ir"])
@pytest.mark.parametrize("budget", [Budget(interactions=60), Budget(tokens_uncached=2500)])
def test_a_run_does_not_depend_on_concurrency(method: str, budget: Budget, tmp_path: Path) -> None:
    tasks = [
        Task(id=f"lock {n}", env_id="toy/Lock-v0", kwargs={"code": code}, seed=n)
        for n, code in enumerate(["abba", "b", "bbbbb"])
    ]
    prints = set()
    for concurrency in (1, 4, 64):
        agent = AGENTS[method](noisy(delay=0.001 * (concurrency > 1)))
        out = tmp_path / str(concurrency)
        with lg.explore(
            agent,
            tasks,
            budget=budget,
            out=out,
            concurrency=concurrency,
            config=lg.ExploreConfig(backend="native", seed=3),
        ) as run:
            prints.add(run.fingerprint())
            trees = list(run.trees())
    assert len(prints) == 1
    assert [tree.stopped for tree in trees] == ["budget"] * 3
    assert all(tree.branches for tree in trees)


def foreign(branches: list[lg.Branch], how: str) -> list[lg.Branch]:
    last = branches[-1]
    changed: dict[str, Any] = {
        "parent": {"parent": None, "experience": None},
        "tau": {"experience": Experience(step=0, text="other")},
        "restart": {"restart": not last.restart},
        "id": {"id": last.id + 1},
    }
    return [*branches[:-1], replace(last, **changed[how])]


async def replay(agent: Agent, branches: list[lg.Branch], interactions: int = 100) -> lg.Tree:
    env = lock("abba")
    pool = EnvPool(lambda: env, env)
    task = Task(id="toy/Lock-v0:0", env_id="toy/Lock-v0", kwargs={"code": "abba"})
    budget = Budget(interactions=interactions)
    return await agent.explore_task(task, pool, budget, seed=0, stop="budget", stored=branches)


async def test_stored_branches_go_on_where_they_ended() -> None:
    whole = await replay(AGENTS["tree"](noisy()), [])
    for kept in (0, 1, 3, len(whole.branches)):
        player = noisy()
        tree = await replay(AGENTS["tree"](player), whole.branches[:kept])
        assert canonical(tree) == canonical(whole)
        made = sum(len(b.steps) + len(b.reflections) for b in whole.branches[kept:])
        assert len(player.seen) == made, "what was stored is not asked for again"


@pytest.mark.parametrize("how", ["parent", "tau", "restart", "id"])
async def test_branches_that_do_not_follow_are_refused(how: str) -> None:
    whole = await replay(AGENTS["tree"](noisy()), [])
    upto = next(b.id for b in whole.branches if b.parent is not None and b.start) + 1
    with pytest.raises(StoreCorrupt, match=f"stored branch .* of {whole.task.id} does not follow"):
        await replay(AGENTS["tree"](noisy()), foreign(whole.branches[:upto], how))


async def test_more_than_the_budget_holds_is_refused() -> None:
    whole = await replay(AGENTS["tree"](noisy()), [])
    with pytest.raises(StoreCorrupt, match="does not follow"):
        await replay(AGENTS["tree"](noisy()), whole.branches, interactions=60)
