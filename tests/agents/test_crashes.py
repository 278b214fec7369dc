"""What breaks ends an attempt, not the run; and it is never reflected on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import pytest
from toy_agents import Lock, Player, View, answer, ledger, lock, recount, register

import leafe_gym as lg
from leafe_gym.budget import Budget
from leafe_gym.errors import EnvironmentFailure, UsageError, WrapperOrder
from leafe_gym.tree import Tree
from leafe_gym.types import Completion


@pytest.fixture
def drift() -> Iterator[None]:
    yield
    Lock.drift = ""


def grow(player: Any, env: lg.RollbackWrapper, interactions: int = 30, **options: Any) -> Tree:
    agent = lg.ReflectiveTreeAgent(player, lg.AgentConfig(**{"reflect_every": None} | options))
    tree = agent.run(env, budget=Budget(interactions=interactions), stop="budget")
    assert ledger(tree) == recount(tree)
    return tree


def test_an_environment_that_raises_in_step() -> None:
    tries: list[View] = []

    def act(view: View) -> str:
        tries.append(view)
        return "crash" if len(tries) == 2 else "a"

    player = Player(act=act)
    tree = grow(player, lock("bbb"), interactions=12)
    broken, after = tree.branches[:2]
    assert (broken.ending, len(broken.steps), broken.reflections) == ("env_error", 1, ())
    assert "step 1 with 'crash': RuntimeError: the lock broke" in broken.reason
    assert tree.spent.overhead_model_calls >= 1, "the reply that led to the crash is in no tree"
    assert (after.parent, after.ending) == (None, "failed"), "the same instance goes on"
    assert tree.stopped == "budget"


def test_three_attempts_in_a_row_that_end_at_once_stop_the_task() -> None:
    tree = grow(Player(act=lambda view: "crash"), lock(), interactions=1000)
    assert [b.ending for b in tree.branches] == ["env_error"] * 3
    assert tree.stopped == "errors"
    assert (tree.spent.interactions, tree.spent.overhead_model_calls) == (0, 3)


def test_attempts_that_get_further_do_not() -> None:
    tree = grow(Player(act=lambda view: "crash" if view.trail else "a"), lock(), interactions=20)
    assert [b.ending for b in tree.branches] == ["env_error"] * 9 + ["budget"]


def test_a_reset_that_raises() -> None:
    env = lock("b", bad_resets=(3, 4))
    tree = grow(Player(act=lambda view: "a", reflect=lambda v: answer(None)), env, interactions=9)
    endings = [b.ending for b in tree.branches]
    assert endings.count("env_error") == 2
    assert endings[-1] == "failed"
    assert "RuntimeError: the lock is jammed" in next(b.reason for b in tree.branches if b.reason)


def test_the_very_first_reset_must_work() -> None:
    with pytest.raises(EnvironmentFailure, match=r"reset of toy/Lock-v0: RuntimeError: .*jammed"):
        grow(Player(), lock("b", bad_resets=(1,)))


@pytest.mark.parametrize(
    ("text", "thinking"),
    [
        ("x" * 2**20 + "x", ""),
        ("Action: a", "x" * 2**20),
        ("a" * 2**19, "\U0001f600" * (2**19 + 1)),
    ],
    ids=["reply", "thinking", "both"],
)
def test_a_reply_that_no_run_could_store_ends_the_attempt(text: str, thinking: str) -> None:
    def endless(messages: list[lg.Message]) -> lg.Completion:
        return lg.Completion(text=text, reasoning=thinking)

    tree = grow(endless, lock())
    assert [b.ending for b in tree.branches] == ["policy_error"] * 3
    assert "characters; at most 1,048,576 are taken" in tree.branches[0].reason


@pytest.mark.parametrize("score", ["nan", "inf", "many", [1]])
def test_a_score_that_is_no_number(score: Any) -> None:
    tree = grow(Player(), lock("bb", score=score))
    assert {b.ending for b in tree.branches} == {"env_error"}
    assert tree.stopped == "errors"


@pytest.mark.usefixtures("drift")
def test_a_state_that_does_not_come_back() -> None:
    def reflect(view: View) -> str:
        Lock.drift = "!"
        return answer(1, "play c")

    tree = grow(Player(reflect=reflect), lock("bbb", backend="replay"), interactions=20)
    root, child = tree.branches[:2]
    assert (root.ending, root.reflections[0].verdict) == ("failed", "branch")
    assert (child.parent, child.ending, child.steps, child.reflections) == (
        0,
        "backend_error",
        (),
        (),
    )
    assert child.reason
    assert tree.branches[2].ending == "backend_error"
    assert "keeps state that a restore leaves as it is" in tree.branches[2].reason


def test_an_environment_that_ignores_its_seed() -> None:
    class Restless(Lock):
        def reset(self, **kwargs: Any) -> Any:
            super().reset(**kwargs)
            return f"trail= {self.resets}", {}

    register("Restless", Restless)
    env = lg.RollbackWrapper(gym.make("toy/Restless-v0", disable_env_checker=True))
    tree = grow(Player(), env)
    assert [b.ending for b in tree.branches] == ["backend_error"] * 3
    assert "ignores its seed" in tree.branches[0].reason
    assert tree.stopped == "errors"


class Bare:
    """A policy object that raises what it likes."""

    name = "bare"

    def __init__(self, raises: BaseException, after: int) -> None:
        self.raises, self.left = raises, after

    async def complete(self, messages: Any, sampling: Any) -> Completion:
        self.left -= 1
        if self.left == 0:
            raise self.raises
        return Completion(text='{"step": 0, "experience": "x"}' if "JSON" in messages[-1]["content"]
                          else "Action: a")  # fmt: skip


ERRORS = [
    RuntimeError("gone"),
    OSError("gone"),
    asyncio.CancelledError("gone"),
    SystemExit("gone"),
    StopAsyncIteration("gone"),
    type("Foreign", (BaseException,), {})("gone"),
]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize(("after", "steps"), [(1, 0), (2, 1)])
def test_a_policy_that_raises(error: BaseException, after: int, steps: int) -> None:
    tree = grow(Bare(error, after), lock("bb"), interactions=20)
    broken = tree.branches[0]
    assert (broken.ending, len(broken.steps), broken.reflections) == ("policy_error", steps, ())
    assert "gone" in broken.reason
    assert tree.branches[1].parent is None
    assert tree.branches[1].ending == "failed"
    assert tree.stopped == "budget"


@pytest.mark.parametrize("error", ERRORS)
def test_a_reflection_that_raises_leaves_the_attempt_as_it_was(error: BaseException) -> None:
    tree = grow(Bare(error, after=3), lock("bb"), interactions=20)
    first = tree.branches[0]
    assert (first.ending, len(first.steps)) == ("failed", 2)
    assert [(r.verdict, "gone" in r.reason) for r in first.reflections] == [("error", True)]
    assert tree.branches[1].parent is None


def test_the_reflections_before_the_one_that_raises_are_kept_and_charged() -> None:
    agent = lg.ReflectiveTreeAgent(
        Bare(OSError("gone"), after=4), lg.AgentConfig(reflect_every=None, reflections=3)
    )
    tree = agent.run(lock("bb"), budget=Budget(interactions=20), stop="budget")
    verdicts = [r.verdict for r in tree.branches[0].reflections]
    assert verdicts == ["branch", "error", "repeat"]
    assert tree.branches[1].parent == 0
    assert ledger(tree) == recount(tree)


def test_a_function_that_always_raises() -> None:
    def gone(messages: Any) -> str:
        raise OSError("gone")

    tree = grow(gone, lock("bb"), interactions=20)
    assert [b.ending for b in tree.branches] == ["policy_error"] * 3
    assert (tree.stopped, tree.spent.interactions) == ("errors", 0)


def test_reflections_are_bad_in_many_ways_and_the_run_goes_on() -> None:
    bad = iter(["", "{", "[" * 60_000, '{"step": 9, "experience": "x"}', '{"step": true}'] * 9)
    tree = grow(Player(reflect=lambda view: next(bad)), lock("bb"), interactions=25, reflections=5)
    assert [r.verdict for r in tree.branches[0].reflections] == ["bad"] * 5
    assert all(r.reason for r in tree.branches[0].reflections)
    assert tree.branches[1].parent is None


def test_a_wrapper_outside_the_rollback_wrapper_is_named() -> None:
    outside = gym.wrappers.TimeLimit(lock(), 5)
    with pytest.raises(WrapperOrder, match="TimeLimit outside RollbackWrapper"):
        lg.IndependentSamplingAgent(Player()).run(outside, budget=Budget(interactions=9))
    with pytest.raises(UsageError, match=r"wrap it: RollbackWrapper\(env\), outermost"):
        lg.IndependentSamplingAgent(Player()).run(Lock(), budget=Budget(interactions=9))


async def test_run_inside_a_running_loop_names_its_asynchronous_variant() -> None:
    agent = lg.IndependentSamplingAgent(Player())
    with pytest.raises(UsageError, match="use `await arun"):
        agent.run(lock(), budget=Budget(interactions=9))
    assert (await agent.arun(lock(), budget=Budget(interactions=9))).spent.interactions > 0


def test_concurrency_needs_a_spec_and_a_sense() -> None:
    agent = lg.IndependentSamplingAgent(Player())
    bare = lg.RollbackWrapper(Lock())
    assert agent.run(bare, budget=Budget(interactions=9)).task.env_id == "Lock"
    with pytest.raises(UsageError, match=r"environment made by gymnasium\.make"):
        agent.run(bare, budget=Budget(interactions=9), concurrency=2)
    with pytest.raises(UsageError, match="concurrency=0: expected a whole number >= 1"):
        agent.run(lock(), budget=Budget(interactions=9), concurrency=0)


def test_an_instance_that_will_not_close_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    env = lock("bbb")
    env.reset(seed=0)
    env.snapshot()

    def stuck(self: Lock) -> None:
        raise OSError("stuck")

    monkeypatch.setattr(Lock, "close", stuck)
    with caplog.at_level(logging.WARNING):
        tree = lg.IndependentSamplingAgent(Player(delay=0.001)).run(
            env, budget=Budget(interactions=30), concurrency=3
        )
    assert tree.stopped == "budget"
    assert "OSError: stuck" in caplog.text
