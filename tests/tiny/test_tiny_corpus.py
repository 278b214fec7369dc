"""What the corpus teaches is what the solver says."""

from __future__ import annotations

import numpy as np
import pytest

from leafe_gym.envs.sokoban.graph import NEVER
from leafe_gym.envs.sokoban.rules import ACTIONS
from leafe_gym.tiny.corpus import FOLLOW, IGNORE, Corpus
from leafe_gym.tiny.demonstrator import WEAKNESSES, blind_pushes, demonstrator, expert
from leafe_gym.tiny.pretrain import make_levels
from leafe_gym.tiny.words import SMALL, vocabulary

GRAPH = make_levels("train", range(40))
WORDS = list(vocabulary())


def corpus(kind: str = "blind") -> Corpus:
    chances = demonstrator(GRAPH, WEAKNESSES[kind])  # type: ignore[index]
    return Corpus(GRAPH, chances, SMALL, np.random.default_rng(0))


@pytest.mark.parametrize("kind", ["blind", "noisy"])
def test_chances_are_chances(kind: str) -> None:
    chances = demonstrator(GRAPH, WEAKNESSES[kind])  # type: ignore[index]
    assert np.allclose(chances.sum(axis=1), 1)
    assert (chances >= 0).all()


def test_blind_pushes_are_rare_but_possible_only_for_the_blind() -> None:
    blind = blind_pushes(GRAPH) & GRAPH.optimal
    needed = blind & (GRAPH.optimal.sum(axis=1) == 1)[:, None]
    shy = demonstrator(GRAPH, WEAKNESSES["blind"])[needed]
    assert needed.sum() > 50
    assert 0 < shy.max() < 0.01
    assert expert(GRAPH)[needed].min() == 1.0


def test_experiences_for_this_step_are_followed_and_others_ignored() -> None:
    batch = corpus().advised(400, 2)
    text = [[WORDS[i] for i in row] for row in batch.ids]
    here = 0
    for row, chances in zip(text, batch.chances, strict=True):
        now = row[13]
        tips = [(row[2 + 6 * n], row[6 + 6 * n]) for n in range(2)]
        own = [advised for step, advised in tips if step == now]
        if own:
            here += 1
            assert chances[ACTIONS.index(own[0])] >= FOLLOW
        else:
            assert np.isclose(chances.sum(), 1)
    assert 200 < here < 350


def test_reflections_name_the_first_mistake() -> None:
    batch = corpus().reflecting(60)
    position = {board: state for state, board in enumerate(GRAPH.boards)}
    for ids, labels, verdicts in zip(batch.ids, batch.labels, batch.verdicts, strict=True):
        answer = [WORDS[i] for i in labels[labels != IGNORE]]
        step = int(answer[0][1:])
        said = [WORDS[i] for i in verdicts[verdicts != IGNORE]]
        assert len(said) == SMALL.steps
        assert said.index("bad") == step
        block = [WORDS[i] for i in ids[1 + 6 * step : 1 + 6 * (step + 1)]]
        assert block[1:5] == answer[1:5], "the answer quotes the board of its step"
        assert answer[5:9] == ["not", block[5], "but", answer[8]]
        board = "\n".join(["######", *(f"#{row}#" for row in answer[1:5]), "######"])
        state = position[board]
        assert GRAPH.optimal[state, ACTIONS.index(answer[8])]
        assert GRAPH.distance[state] < NEVER
