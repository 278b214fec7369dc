"""An attempt is a value: it pickles, and a rollout in another process gives the same branch."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
from pathlib import Path

from toy_agents import lock, noisy

import leafe_gym as lg
from leafe_gym.agents.env_pool import EnvSlot
from leafe_gym.agents.plan import AttemptPlan, Selection, make_plan
from leafe_gym.agents.rollout import AttemptCost, rollout
from leafe_gym.budget import Budget, Limits
from leafe_gym.prompts.base import prompt_set
from leafe_gym.tree import Branch, Tree
from leafe_gym.types import Experience, Reflection, Start, Step, Task

CONFIG = lg.AgentConfig(reflect_every=2, reflections=2, until="end")


def plans() -> list[AttemptPlan]:
    """The plans of all attempts of a tree, as a runner makes them."""
    made: list[AttemptPlan] = []
    agent = lg.ReflectiveTreeAgent(noisy(), CONFIG)
    tree = agent.run(lock("abbab"), budget=Budget(interactions=200), seed=3, stop="budget")
    shown = Tree(task=tree.task, start=tree.start)
    for branch in tree.branches:
        selection = Selection(
            parent=branch.parent,
            start=branch.start,
            experience=branch.experience,
            depth=tree.depth(branch.id),
        )
        limits = Limits(interactions=30)
        made.append(
            make_plan(branch.id, selection, shown, CONFIG,
                      reflection="reflect", capacity=4, limits=limits, seed=3)
        )  # fmt: skip
        shown.add(branch)
    return made


def run(plan: AttemptPlan) -> tuple[Branch, AttemptCost]:
    slot = EnvSlot(lock("abbab"))
    return asyncio.run(rollout(plan, slot, noisy(), prompt_set("chat"), CONFIG))


CHILD = """
import pickle, sys
sys.path.insert(0, sys.argv[1])
from test_plans import run
pickle.dump([run(plan) for plan in pickle.load(sys.stdin.buffer)], sys.stdout.buffer)
"""


def test_a_rollout_in_another_process_gives_the_same_branch_and_cost() -> None:
    made = plans()
    assert {plan.restores for plan in made} == {True, False}
    assert any(plan.inherited for plan in made)
    assert any(plan.tried for plan in made)
    here = [run(plan) for plan in made]
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(Path(__file__).parent)],
        input=pickle.dumps(made), capture_output=True, check=True, timeout=900,
    )  # fmt: skip
    there = pickle.loads(child.stdout)
    assert [branch for branch, _ in there] == [branch for branch, _ in here]
    assert [cost for _, cost in there] == [cost for _, cost in here]


def chain() -> Tree:
    """Three branches, each leaving the last one step later."""
    tree = Tree(task=Task(id="t", env_id="me/T-v0"), start=Start(observation="go"))
    told = [Experience(step=n, text=f"e{n}") for n in range(3)]
    for number in range(3):
        steps = tuple(Step(action=mark, reply=mark, observation="") for mark in "abcd")
        opened = Reflection(after=4, reply="", verdict="branch", experience=told[number])
        tree.add(
            Branch(
                id=number,
                parent=number - 1 if number else None,
                experience=told[number - 1] if number else None,
                steps=steps,
                reflections=(opened,),
            )
        )
    return tree


def plan_of(selection: Selection, config: lg.AgentConfig) -> AttemptPlan:
    return make_plan(3, selection, chain(), config, reflection="reflect", capacity=1,
                     limits=Limits(), seed=0)  # fmt: skip


def test_experiences_are_in_force_as_long_as_their_steps_are_in_the_history() -> None:
    own = Experience(step=2, text="own")
    selection = Selection(parent=2, start=2, experience=own, depth=3)
    to_the_end = plan_of(selection, lg.AgentConfig(until="end"))
    assert [text for _, text in texts(to_the_end, 5, "end")] == ["e0", "e1", "own"]
    at_tau = plan_of(selection, lg.AgentConfig(until="tau"))
    assert texts(at_tau, 2, "tau") == [(3, "own")]
    assert texts(at_tau, 3, "tau") == []
    earlier = Selection(parent=2, start=1, experience=Experience(step=1, text="own"), depth=3)
    assert texts(plan_of(earlier, lg.AgentConfig(until="end")), 1, "end") == [(1, "e0"), (3, "own")]


def texts(plan: AttemptPlan, action: int, until: str) -> list[tuple[int, str]]:
    return [(b, e.text) for b, e in plan.in_force(action, until)]  # type: ignore[arg-type]


def test_a_parent_without_an_experience_is_plain_resampling() -> None:
    plan = plan_of(Selection(parent=2, start=3, depth=3), lg.AgentConfig())
    assert plan.restores
    assert [step.action for step in plan.prefix] == ["a", "a", "b"], "a, then a of 2, then its b"
    assert plan.in_force(3, "tau") == []
    branch = plan.branch("failed")
    assert (branch.parent, branch.start, branch.experience) == (2, 3, None)
    assert plan.begins(branch)


def test_a_plan_knows_what_was_tried_and_who_owns_a_state() -> None:
    plan = plan_of(Selection(parent=2, start=2, experience=Experience(step=2, text="x")),
                   lg.AgentConfig())  # fmt: skip
    assert plan.lineage == ((3, 2), (2, 1), (1, 0), (0, 0))
    assert [plan.owner_of(action) for action in (0, 1, 2, 3)] == [0, 1, 2, 3]
    assert plan.was_tried(Experience(step=1, text="e1"), [])
    assert not plan.was_tried(Experience(step=1, text="e9"), [])
    assert not plan.was_tried(Experience(step=3, text="e2"), []), (
        "another state: after its own step"
    )
    own = Reflection(after=1, reply="", verdict="branch", experience=Experience(step=3, text="n"))
    assert plan.was_tried(Experience(step=3, text="n"), [own])
