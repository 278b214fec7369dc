"""Lockstep sampling of the model with a history is what the policy and the agents do."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import leafe_gym as lg
from leafe_gym.evals.reproduce.batched_sampling import _Reader
from leafe_gym.evals.reproduce.levels import LevelSet
from leafe_gym.evals.reproduce.protocol import AGENT
from leafe_gym.evals.samplers import make_agent
from leafe_gym.policies.base import policy
from leafe_gym.prompts.base import prompt_set
from leafe_gym.prompts.tiny import ACTIONS
from leafe_gym.tiny.policy import TinyPolicy
from leafe_gym.tiny.words import SMALL
from leafe_gym.types import Message, Sampling, Start, Step

LEVELS = LevelSet.of("val", 8)
GRAPH = LEVELS.graph
MODEL: TinyPolicy = policy("tiny", kind="multiturn")  # type: ignore[assignment]
TALK = prompt_set("tiny-multiturn")


def confused() -> TinyPolicy:
    """The model after an accident: many of its replies hold no action."""
    network = copy.deepcopy(MODEL.network)
    dice = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in network.parameters():
            weights += 0.1 * torch.randn(weights.shape, generator=dice)
    return TinyPolicy(network)


def chat(start: int, actions: list[int]) -> list[Message]:
    """The acting prompt after some actions from a position."""
    state, steps = start, []
    for action in actions:
        state = int(GRAPH.next[state, action])
        said = ACTIONS[action]
        steps.append(Step(action=said, reply=said, observation=GRAPH.boards[state]))
    begun = Start(observation=GRAPH.boards[start])
    return TALK.render(LEVELS.tasks[0], begun, steps)


PLAYS = st.lists(
    st.tuples(
        st.integers(0, len(GRAPH.starts) - 1),
        st.lists(st.integers(0, 3), min_size=6, max_size=6),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=10)
@given(PLAYS)
def test_chances_are_those_of_the_whole_conversation(plays: list[tuple[int, list[int]]]) -> None:
    model = confused()
    reader = _Reader(model.network, LEVELS.rows)
    state = GRAPH.starts[[level for level, _ in plays]]
    going = np.ones(len(plays), dtype=np.bool_)
    before = None
    for step in range(6):
        found = reader(step, state, before, going)
        for number, (level, actions) in enumerate(plays):
            if going[number]:
                ids, prompt = model.tokenize(chat(GRAPH.starts[level], actions[:step]), "up")
                alone = model.chances(np.array([ids[:prompt]]))[0]
                assert found[number] == pytest.approx(alone, rel=1e-3, abs=1e-7)
        before = np.where(going, [actions[step] for _, actions in plays], -1)
        state = np.where(going, GRAPH.next[state, before.clip(0)], state)
        going &= ~GRAPH.won[state]


def test_given_actions_are_taken_and_the_rest_is_drawn() -> None:
    starts = np.repeat(GRAPH.starts[:3], 40)
    given_ = np.full((120, SMALL.steps), -1)
    given_[:, :4] = np.random.default_rng(1).integers(0, 4, size=(120, 4))
    episodes = LEVELS.conversations(MODEL.network).sample(starts, np.random.default_rng(0), given_)
    began = episodes.actions[:, :4]
    ended = began == -1
    assert (began[~ended] == given_[:, :4][~ended]).all()
    assert GRAPH.won[episodes.states[:, 1:5][ended]].all()
    assert len(np.unique(episodes.actions[:, 4])) > 3


@pytest.mark.parametrize("model", [MODEL, confused()], ids=["shipped", "confused"])
def test_sampling_is_what_the_agents_do(
    model: TinyPolicy, tmp_path: Path, counts: Callable[[int, int], int]
) -> None:
    attempts, samples = counts(12, 100), counts(100, 2000)
    agent = make_agent("is", model, AGENT.replace(max_attempts=attempts))
    with lg.explore(
        agent, LEVELS.tasks, budget=lg.Budget(interactions=10**6), out=tmp_path, concurrency=64
    ) as run:
        trees = list(run.trees())
    won = np.array([[branch.won for branch in tree.branches] for tree in trees])
    assert won.shape == (8, attempts)
    starts = np.repeat(GRAPH.starts, samples)
    episodes = LEVELS.conversations(model.network).sample(starts, np.random.default_rng(0))
    rate = episodes.won.reshape(8, -1).mean(axis=1)
    error = np.sqrt((rate * (1 - rate) * (1 / attempts + 1 / samples)).sum()) / 8
    assert abs(won.mean() - rate.mean()) < 3 * error + 1e-9
    spent = np.mean([tree.spent.interactions / len(tree.branches) for tree in trees])
    assert episodes.interactions.mean() == pytest.approx(spent, rel=0.1)
    bad = np.mean([s.action is None for t in trees for b in t.branches for s in b.steps])
    assert (bad > 0.05) == (model is not MODEL)


def test_batching_changes_nothing() -> None:
    prompts = [chat(int(GRAPH.starts[n]), [n % 4, 3 - n % 4][: n % 3] * 4) for n in range(8)]
    prompts.append(
        [*prompts[0][:-1], {"role": "user", "content": prompts[0][-1]["content"] + "\nfailed"}]
    )

    async def ask(model: TinyPolicy, which: list[int]) -> list[str]:
        requests = [model.complete(prompts[n], Sampling(seed=n, max_tokens=16)) for n in which]
        return [reply.text for reply in await asyncio.gather(*requests)]

    together = asyncio.run(ask(MODEL, list(range(len(prompts)))))
    alone = TinyPolicy(MODEL.network)
    assert [asyncio.run(ask(alone, [n]))[0] for n in range(len(prompts))] == together


def test_rows_hold_the_history_and_no_experience(tmp_path: Path) -> None:
    agent = make_agent("tree", MODEL, AGENT.replace(attempts_per_root=16, max_depth=8))
    assert agent.prompts.name == "tiny-multiturn"
    with lg.explore(
        agent,
        LEVELS.tasks,
        budget=lg.Budget(interactions=300),
        out=tmp_path,
        concurrency=64,
        config=lg.ExploreConfig(stop="budget"),
    ) as run:
        shown = sum(bool(s.experiences) for t in run.trees() for b in t.branches for s in b.steps)
    from leafe_gym import distill

    rows = list(distill.rows(tmp_path, distill.RowConfig(per_task=None, rehearsal=1.0)))
    assert shown > 10
    assert {len(row.prompt) for row in rows} >= {1, 3, 5}
    assert not any("tip" in turn["content"] for row in rows for turn in row.prompt)
