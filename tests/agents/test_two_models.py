"""One model acts, another one reflects: who is asked what, and whose tokens are counted where."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from toy_agents import Player, View, actions, canonical, lock

import leafe_gym as lg
from leafe_gym.budget import Budget, TokenMeter, measure
from leafe_gym.errors import ConfigMismatch, PolicyUnavailable
from leafe_gym.tree import Tree
from leafe_gym.types import Message, Task, Usage

CODE = "bbb"
TASK = Task(id="lock", env_id="toy/Lock-v0", kwargs={"code": CODE, "disable_env_checker": True})


def named(name: str, **fields: object) -> Player:
    return Player(name=name, **fields)  # type: ignore[arg-type]


def grow(agent: lg.ReflectiveTreeAgent | lg.IterativeRefinementAgent) -> Tree:
    return agent.run(lock(CODE), budget=Budget(interactions=40), stop="budget", seed=3)


@pytest.mark.parametrize("method", [lg.ReflectiveTreeAgent, lg.IterativeRefinementAgent])
def test_each_model_is_asked_for_its_own_part(
    method: type[lg.ReflectiveTreeAgent | lg.IterativeRefinementAgent],
) -> None:
    actor, critic = named("actor"), named("critic")
    tree = grow(method(actor, None, critic))
    assert {view.sampling.purpose for view in actor.seen} == {"act"}
    assert {view.sampling.purpose for view in critic.seen} <= {"reflect", "refine"}
    assert len(critic.seen) == tree.spent.reflect_calls > 1
    alone = grow(method(named("actor")))
    assert canonical(tree)["branches"] == canonical(alone)["branches"], "the same replies"


def test_each_model_has_its_own_tokens() -> None:
    actor = named("actor", usage=Usage(prompt_tokens=100, completion_tokens=7))
    critic = named("critic", usage=Usage(prompt_tokens=1000, completion_tokens=50))
    spent = grow(lg.ReflectiveTreeAgent(actor, None, critic)).spent
    assert spent.reflect_prompt_tokens == 1000 * spent.reflect_calls > 0
    assert spent.reflect_completion_tokens == 50 * spent.reflect_calls
    assert spent.prompt_tokens - spent.reflect_prompt_tokens == 100 * spent.act_calls
    assert spent.completion_tokens - spent.reflect_completion_tokens == 7 * spent.act_calls


def shared_by_hand(views: Sequence[View], replies: Sequence[str]) -> int:
    """Prompt tokens that an earlier prompt of these calls holds."""
    meter = TokenMeter()
    sizes = [
        measure(list(v.messages), r, Usage(), None) for v, r in zip(views, replies, strict=True)
    ]
    return sum(meter.shared(size) for size in sizes)


def test_a_prompt_of_one_model_is_not_in_the_others_cache() -> None:
    actor, critic = named("actor"), named("critic")
    tree = grow(lg.ReflectiveTreeAgent(actor, None, critic))
    acted = [step.reply for branch in tree.branches for step in branch.steps]
    said = [r.reply for branch in tree.branches for r in branch.reflections]
    by_actor = shared_by_hand(actor.seen[: len(acted)], acted)
    by_critic = shared_by_hand(critic.seen[: len(said)], said)
    assert tree.spent.reflect_shared_tokens == by_critic > 0
    assert tree.spent.shared_tokens == by_actor + by_critic
    alone = grow(lg.ReflectiveTreeAgent(named("actor")))
    assert alone.spent.tokens_total == tree.spent.tokens_total
    assert alone.spent.tokens_uncached < tree.spent.tokens_uncached
    same = named("actor")
    assert grow(lg.ReflectiveTreeAgent(same, None, same)).spent == alone.spent, "one model"


class Counting(Player):
    """Also has a tokenizer: one id a character."""

    def tokenize(self, messages: Sequence[Message], completion: str) -> tuple[list[int], int]:
        prompt = [ord(c) for message in messages for c in message["content"]]
        return [*prompt, *map(ord, completion)], len(prompt)


def test_each_model_counts_with_its_own_tokenizer() -> None:
    tree = grow(lg.ReflectiveTreeAgent(Counting(name="actor"), None, named("critic")))
    assert tree.token_source == "tokenizer; reflecting: bytes/4"
    counted = sum(len(step.reply) for branch in tree.branches for step in branch.steps)
    assert tree.spent.completion_tokens - tree.spent.reflect_completion_tokens == counted
    both = grow(lg.ReflectiveTreeAgent(Counting(name="actor"), None, Counting(name="critic")))
    assert both.token_source == "tokenizer"


def broken(view: View) -> str:
    raise ValueError("no memory")


def test_an_error_names_the_model_that_failed() -> None:
    tree = grow(lg.ReflectiveTreeAgent(named("actor"), None, named("critic", reflect=broken)))
    reasons = {r.reason for branch in tree.branches for r in branch.reflections}
    assert reasons == {"policy critic: ValueError: no memory"}
    assert tree.spent.reflect_calls == 0


def test_a_stored_run_goes_on_with_both_models_and_no_other(tmp_path: Path) -> None:
    def explore(interactions: int, critic: Player | None) -> lg.RunReader:
        agent = lg.ReflectiveTreeAgent(named("actor"), None, critic)
        config = lg.ExploreConfig(stop="budget", backend="native")
        return lg.explore(
            agent, [TASK], budget=Budget(interactions=interactions), out=tmp_path / "run",
            config=config,
        )  # fmt: skip

    with explore(30, named("critic")) as run:
        assert run.config["agent"]["policy"].startswith("actor")
        assert run.config["agent"]["reflect_policy"].startswith("critic")
        tree = run.tree(0)
    assert tree.spent.reflect_calls > 0
    assert actions(tree, 0) == "aaa"
    for other in (named("another"), None):
        with pytest.raises(ConfigMismatch, match="reflect_policy"):
            explore(30, other)


def test_tokens_of_a_tree_that_is_read_back_are_the_same(tmp_path: Path) -> None:
    """The ledger of stored branches is computed again from their prompts."""

    class Stop(Player):
        left = 6

        async def complete(self, messages, sampling):  # type: ignore[no-untyped-def]
            self.left -= 1
            if self.left < 0:
                raise PolicyUnavailable("the server is down")
            return await super().complete(messages, sampling)

    def explore(actor: Player, out: Path) -> Tree:
        agent = lg.ReflectiveTreeAgent(actor, None, Counting(name="critic"))
        config = lg.ExploreConfig(stop="budget", backend="native")
        limit = Budget(interactions=40)
        with lg.explore(agent, [TASK], budget=limit, out=out, config=config) as run:
            return run.tree(0)

    with pytest.raises(PolicyUnavailable):
        explore(Stop(name="actor"), tmp_path / "cut")

    resumed = explore(_as(Stop), tmp_path / "cut")
    whole = explore(_as(Stop), tmp_path / "whole")
    assert canonical(resumed) == canonical(whole)
    assert resumed.spent.reflect_prompt_tokens > 0


def _as(kind: type[Player]) -> Player:
    player = kind(name="actor")
    player.left = 10**6  # type: ignore[attr-defined]
    return player
