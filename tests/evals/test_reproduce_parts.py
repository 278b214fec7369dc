"""The oracle, the judge of looking back, and budgets of groups."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from leafe_gym.envs.sokoban.parse import parse_board
from leafe_gym.envs.sokoban.solver import distance
from leafe_gym.evals.reproduce.group_budget import GroupBudget
from leafe_gym.evals.reproduce.levels import LevelSet
from leafe_gym.evals.reproduce.mistakes import mistakes
from leafe_gym.evals.reproduce.oracle_reflection import OracleTau
from leafe_gym.evals.reproduce.reflection_quality import reflection_quality
from leafe_gym.policies.base import policy
from leafe_gym.prompts.base import prompt_set
from leafe_gym.tiny.words import END, SMALL, vocabulary
from leafe_gym.tree import Branch, Tree
from leafe_gym.types import Experience, Reflection, Sampling, Start, Step, Task

BOARDS = [
    "######\n#@---#\n#-$-.#\n#----#\n#----#\n######",
    "######\n#----#\n#@$-.#\n#----#\n#----#\n######",  # down: towards it
    "######\n#@---#\n#-$-.#\n#----#\n#----#\n######",  # up: away again
    "######\n#----#\n#@$-.#\n#----#\n#----#\n######",
]
TASK = Task(id="t", env_id="leafe/Sokoban-v0")
START = Start(observation=BOARDS[0])
STEPS = [
    Step(action=action, reply=action, observation=board, truncated=number == 2)
    for number, (action, board) in enumerate(zip(["down", "up", "down"], BOARDS[1:], strict=True))
]


def reflection(step: int, text: str) -> Reflection:
    return Reflection(
        after=3, reply="", verdict="branch", experience=Experience(step=step, text=text)
    )


def test_oracle_names_the_first_mistake_and_acts_as_the_model() -> None:
    tiny = policy("tiny")
    oracle = OracleTau(tiny)  # type: ignore[arg-type]
    tiny_prompts = prompt_set(oracle.prompts)
    look_back = tiny_prompts.render_reflection(TASK, START, STEPS)
    reply = asyncio.run(oracle.complete(look_back, Sampling(seed=3)))
    verdict = tiny_prompts.parse_reflection(reply, 3)
    assert verdict.step == 1
    assert verdict.text.startswith("not up but ")
    act = tiny_prompts.render(TASK, START, STEPS[:1])
    for seed in range(5):
        sampling = Sampling(seed=seed)
        assert asyncio.run(oracle.complete(act, sampling)) == asyncio.run(
            tiny.complete(act, sampling)
        )


@pytest.mark.parametrize(
    ("distances", "found"),
    [
        ([3, 2, 1, 0], []),
        ([3, 4, 3, 4], [0, 2]),
        ([3, 3, 2], [0]),  # a move into a wall
        ([3, 2, None, None], [1]),  # the level is lost once
        ([None, None], []),
        ([3], []),
        ([], []),
    ],
)
def test_mistakes_are_actions_that_do_not_shorten_the_solution(
    distances: list[int | None], found: list[int]
) -> None:
    assert mistakes(distances) == found


def test_quality_counts_what_it_says() -> None:
    assert [distance(parse_board(board)) for board in BOARDS] == [3, 2, 3, 2]
    branch = Branch(
        id=0,
        parent=None,
        experience=None,
        steps=tuple(STEPS),
        ending="failed",
        reflections=(
            reflection(1, "not up but right"),  # exact, right
            reflection(2, "not down but left"),  # too late, wrong
            reflection(0, "not down but down"),  # in time, not exact, right
            Reflection(after=3, reply="", verdict="repeat"),
            Reflection(after=3, reply="", verdict="bad", reason="x"),
        ),
    )
    quality = reflection_quality([Tree(task=TASK, start=START, branches=[branch])])
    assert quality == {
        "reflections": 5,
        "parsed": 4 / 5,
        "tau_exact": 1 / 3,
        "tau_in_time": 2 / 3,
        "advice_right": 2 / 3,
    }


def test_groups_use_the_budget_and_never_more() -> None:
    levels = LevelSet.of("train", 7)
    whole = 8
    budget = GroupBudget(levels, 230, np.random.default_rng(0), group=whole, tasks=3)
    network = policy("tiny").network  # type: ignore[attr-defined]
    longest = 2 * SMALL.steps
    spent = np.zeros(7)
    smallest = whole
    while (batch := budget.sample(network, 0)) is not None:
        assert len(batch.rewards) == len(batch.groups)
        for sample in batch.samples:
            acted = sample.ids[-1] == vocabulary()[END]
            spent[batch.groups[sample.episode]] += 2 if acted else 1
        _, sizes = np.unique(batch.groups, return_counts=True)
        smallest = min(smallest, int(sizes.min()))
    assert (spent <= 230).all()
    assert (spent > 230 - 2 * longest).all(), "two more of the longest rollouts would not fit"
    assert budget.spent == spent.sum()
    assert 2 <= smallest < whole
