"""Rows of a run as batches of a fixed number of examples, the same for every method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leafe_gym.distill.data.config import RowConfig
from leafe_gym.distill.data.dataset import rows as make_rows
from leafe_gym.distill.data.row_types import Encoded
from leafe_gym.distill.data.tokens import Encoder
from leafe_gym.envs.sokoban.rules import ACTIONS
from leafe_gym.errors import NoRows
from leafe_gym.evals.reproduce.exact import PolicyChain
from leafe_gym.evals.reproduce.levels import LevelSet
from leafe_gym.prompts.base import PromptSet
from leafe_gym.tiny.corpus import act_prompts
from leafe_gym.tiny.words import ASSISTANT, END, SMALL, USER, World, make_tokenizer, vocabulary


def run_rows(
    folder: Path, world: World = SMALL, prompts: PromptSet | None = None
) -> dict[str, list[Encoded]]:
    """All rows of a run by kind: every success rehearsed, every revised action that won."""
    encoder = Encoder(make_tokenizer(world))
    found: dict[str, list[Encoded]] = {"counterfactual": [], "rehearsal": []}
    try:
        for row in make_rows(folder, RowConfig(per_task=None, rehearsal=1.0), prompts=prompts):
            encoded = encoder.encode(row)
            assert encoded is not None
            found[row.kind].append(encoded)
    except NoRows:
        pass
    return found


def drawn(rows: Sequence[Encoded], count: int, rng: np.random.Generator) -> list[Encoded]:
    """`count` rows, each pass over all of them in a new order; none of none."""
    picked: list[int] = []
    if not rows:
        return []
    while len(picked) < count:
        picked += rng.permutation(len(rows)).tolist()
    return [rows[index] for index in picked[:count]]


def alternatives(
    levels: LevelSet, chain: PolicyChain, interactions: int, rng: np.random.Generator
) -> tuple[list[Encoded], list[Encoded]]:
    """Early Experience: rows that predict what an action leads to, and rows to imitate.

    Half the budget of each level goes into episodes. The other half goes into the policy's own
    alternative actions at the states visited (a call and a step each): their outcomes are
    predicted. The successes among the episodes are imitated.

    Args:
        levels: training levels.
        chain: the policy on them.
        interactions: budget a level.
        rng: draws everything.
    """
    graph = levels.graph
    per_level = interactions // 2
    most = (
        per_level // 8
    )  # an episode costs 8 interactions or more; those beyond the budget are cut
    episodes = chain.sample(np.repeat(graph.starts, most), rng)
    spent = episodes.interactions.reshape(-1, most).cumsum(axis=1)
    kept = (spent <= per_level).ravel()
    acted = episodes.acted
    imitate: list[Encoded] = []
    predict: list[Encoded] = []
    for number in np.flatnonzero(kept & episodes.won):
        for step in np.flatnonzero(acted[number]):
            state, action = episodes.states[number, step], int(episodes.actions[number, step])
            imitate.append(_act(levels, int(state), int(step), action))
    visited = acted & kept[:, None]
    rows, steps = np.nonzero(visited)
    level = rows // most
    picked: list[int] = []
    for name in range(len(graph.starts)):
        own = np.flatnonzero(level == name)
        if len(own):
            picked += own[rng.integers(0, len(own), size=per_level // 2)].tolist()
    states, at = episodes.states[rows[picked], steps[picked]], steps[picked]
    chances = _chances(chain, states, at)
    for state, step, row in zip(states.tolist(), at.tolist(), chances, strict=True):
        predict.append(_predict(levels, state, step, int(rng.choice(4, p=row / row.sum()))))
    return predict, imitate


def _chances(
    chain: PolicyChain, states: NDArray[np.int64], steps: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The policy at each (state, step), one call for each step; [states, 4]."""
    found = np.zeros((len(states), 4))
    for step in np.unique(steps):
        here = steps == step
        unique, where = np.unique(states[here], return_inverse=True)
        found[here] = chain.chances(unique, int(step))[where]
    return found


def _act(levels: LevelSet, state: int, step: int, action: int) -> Encoded:
    prompt = act_prompts(levels.rows[[state]], np.array([vocabulary()[f"s{step}"]]))[0]
    words = vocabulary()
    ids = (*prompt.tolist(), words[ACTIONS[action]], words[END])
    return Encoded(ids=ids, target_start=len(prompt), kind="rehearsal", task="")


def _predict(levels: LevelSet, state: int, step: int, action: int) -> Encoded:
    words = vocabulary()
    act = _act(levels, state, step, action)
    after = levels.rows[levels.graph.next[state, action]].tolist()
    head = (*act.ids, words[USER], words[f"s{min(step + 1, levels.world.steps)}"])
    return Encoded(
        ids=(*head, *after, words[ASSISTANT]), target_start=len(head), kind="rehearsal", task=""
    )
