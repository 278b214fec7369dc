"""Attempts that spend nothing of the budget end a task, which stays open; nothing runs for ever."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from toy_agents import Player, answer, lock

import leafe_gym as lg
from leafe_gym.agents.agent import Agent
from leafe_gym.errors import ContextFull, PolicyError, UsageError
from leafe_gym.types import Completion, Message, Sampling

METHODS: list[type[Agent]] = [
    lg.IndependentSamplingAgent,
    lg.IterativeRefinementAgent,
    lg.ReflectiveTreeAgent,
    lg.BestFirstAgent,
]


class Counting:
    """Counts its calls; never usable."""

    name = "counting"

    def __init__(self, error: Exception | None = None) -> None:
        self.calls, self.error = 0, error

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        self.calls += 1
        assert self.calls < 500, "it goes on for ever"
        if self.error is not None:
            raise self.error
        return Completion(text="nonsense")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize(
    ("policy", "budget"),
    [
        (Counting, lg.Budget(env_steps=5)),
        (lambda: Counting(ContextFull("the window holds 10 tokens")), lg.Budget(interactions=20)),
        (lambda: Counting(ContextFull("full")), lg.Budget(tokens_total=1000)),
    ],
)
def test_attempts_without_progress_end_the_task(
    method: type[Agent], concurrency: int, policy: Any, budget: lg.Budget
) -> None:
    made = policy()
    tree = method(made).run(lock("ab"), budget=budget, concurrency=concurrency, stop="budget")
    assert tree.stopped == "errors"


def test_a_prompt_that_never_fits_is_an_error_not_a_table_of_zeros(tmp_path: Path) -> None:
    tasks = lg.tasks("leafe/Sokoban-v0", split="test")[:3]
    policy = Counting(ContextFull("the window holds 10 tokens"))
    with pytest.raises(UsageError, match="the window holds 10 tokens"):
        lg.evaluate(policy, tasks, samples=4, out=tmp_path)


@pytest.mark.parametrize("concurrency", [6, 64, 512])
def test_speculation_is_bounded_by_the_budget(concurrency: int) -> None:
    player = Player(delay=0.002)
    tree = lg.IndependentSamplingAgent(player).run(
        lock("abab"), budget=lg.Budget(interactions=12), concurrency=concurrency, stop="budget"
    )
    assert tree.spent.interactions == 12
    assert len(player.seen) <= 6 * 4, "no more attempts at once than the budget could hold"


class Once(Player):
    """Fails at one acting call that follows an experience."""

    failed = False

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        told = "earlier attempt" in messages[-1]["content"] and sampling.purpose == "act"
        if told and not self.failed:
            self.failed = True
            raise PolicyError("hiccup")
        return await super().complete(messages, sampling)


@pytest.mark.parametrize("concurrency", [1, 5])
def test_an_experience_that_was_paid_for_is_tried_again(concurrency: int) -> None:
    policy = Once(reflect=lambda view: answer(1, "play b"), delay=0.001)
    tree = lg.ReflectiveTreeAgent(policy, lg.AgentConfig(reflect_every=None)).run(
        lock("aba"), budget=lg.Budget(interactions=30), concurrency=concurrency
    )
    first, second = (b for b in tree.branches if b.experience is not None)
    assert (first.ending, first.steps) == ("policy_error", ())
    assert (second.parent, second.experience) == (first.parent, first.experience)
    assert tree.solved
