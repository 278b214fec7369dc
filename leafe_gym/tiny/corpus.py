"""The pretraining corpus of the small model: acting, following experiences, and reflecting.

Three kinds of examples, drawn afresh for every optimizer step from episodes on training levels:

* acting: a prompt and the demonstrator's probability of each action;
* advised: the same with one to eight experiences. One for this very step is followed, also where
  it advises a blind push, because that is not learned otherwise; any other one is ignored;
* reflecting: a failed episode; the answer names the first step that was not optimal, quotes its
  board, and names an optimal action.

All arrays hold token ids; see `words`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from leafe_gym.envs.sokoban.graph import StateGraph
from leafe_gym.prompts.tiny import ACTIONS, inside
from leafe_gym.tiny.sampling import inverse_cdf
from leafe_gym.tiny.words import ASSISTANT, END, EXPERIENCE, SMALL, UNKNOWN, USER, World, vocabulary

Ids = NDArray[np.int64]
FOLLOW = 0.97
"""Probability of the action that an experience for this step advises."""
IGNORE = -100
"""Label of a token that is not learned."""


@dataclass(frozen=True, slots=True)
class ActingBatch:
    """Prompts of one length and the chances of each action after them."""

    ids: Ids
    chances: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ReflectionBatch:
    """Failed episodes with their reflections.

    Attributes:
        ids: padded on the right; [examples, tokens].
        labels: the next token where there is a loss, else `IGNORE`; [examples, tokens].
        verdicts: at each action, the word for whether it was optimal, else `IGNORE`.
    """

    ids: Ids
    labels: Ids
    verdicts: Ids


class Corpus:
    """Examples from the episodes of a graph of levels.

    Args:
        graph: the training levels.
        chances: the demonstrator's probability of each action; [states, 4].
        world: the rooms of the levels.
        rng: of all random choices.
    """

    def __init__(
        self,
        graph: StateGraph,
        chances: NDArray[np.float64],
        world: World,
        rng: np.random.Generator,
    ) -> None:
        self._graph, self._chances, self._rng = graph, chances, rng
        self._horizon = horizon = world.steps
        words = vocabulary()
        self._word = words
        self._actions = np.array([words[action] for action in ACTIONS])
        self._steps = np.array([words[f"s{number}"] for number in range(horizon + 1)])
        self._optimal = graph.optimal
        self._rows = state_rows(graph, world)

    def acting(self, count: int) -> ActingBatch:
        """Prompts at random steps of random episodes."""
        states, steps = self._visited(count)
        return ActingBatch(
            act_prompts(self._rows[states], self._steps[steps]),
            self._chances[states].astype(np.float32),
        )

    def advised(self, count: int, experiences: int) -> ActingBatch:
        """The same with experiences in front; one of them is for this step in most examples."""
        rng, word = self._rng, self._word
        states, steps = self._visited(count)
        about = rng.integers(0, self._horizon, size=(count, experiences))
        here = rng.random(count) < 0.7
        place = rng.integers(0, experiences, size=count)
        about = np.where(about == steps[:, None], (about + 1) % self._horizon, about)
        about[here, place[here]] = steps[here]
        bad = rng.integers(0, 4, size=(count, experiences))
        good = (bad + rng.integers(1, 4, size=(count, experiences))) % 4
        # Most advice is right.
        wise = rng.random(count) < 0.85
        best = self._pick(self._solver[states])
        mistaken = (best + rng.integers(1, 4, size=count)) % 4
        rows = np.arange(count)
        good[rows[wise], place[wise]] = best[wise]
        bad[rows[wise], place[wise]] = mistaken[wise]
        blocks = [
            np.stack(
                [
                    np.full(count, word[EXPERIENCE]),
                    self._steps[about[:, n]],
                    np.full(count, word["not"]),
                    self._actions[bad[:, n]],
                    np.full(count, word["but"]),
                    self._actions[good[:, n]],
                ],
                axis=1,
            )
            for n in range(experiences)
        ]
        chances = self._chances[states].copy()
        chances[here] *= 1 - FOLLOW
        chances[rows[here], good[rows, place][here]] += FOLLOW
        prompt = act_prompts(self._rows[states], self._steps[steps])
        return ActingBatch(
            np.concatenate([prompt[:, :1], *blocks, prompt[:, 1:]], axis=1),
            chances.astype(np.float32),
        )

    def reflecting(self, count: int) -> ReflectionBatch:
        """Failed episodes with the answer to a reflection request."""
        word = self._word
        states, actions = self._failed(count)
        horizon = self._horizon
        optimal = self._optimal[states[:, :horizon], actions]
        answer = self._answer(states, actions)
        block = np.concatenate(
            [
                np.broadcast_to(self._steps[None, :horizon, None], (count, horizon, 1)),
                self._rows[states[:, :horizon]],
                self._actions[actions][:, :, None],
            ],
            axis=2,
        ).reshape(count, -1)

        def column(name: str) -> Ids:
            return np.full((count, 1), word[name])

        prompt = np.concatenate(
            [
                column(USER),
                block,
                np.broadcast_to(self._steps[horizon], (count, 1)),
                self._rows[states[:, horizon]],
                column("failed"),
                column(ASSISTANT),
            ],
            axis=1,
        )
        ids = np.concatenate([prompt, answer], axis=1)
        labels = np.full_like(ids, IGNORE)
        labels[:, prompt.shape[1] - 1 : -1] = answer
        verdicts = np.full_like(ids, IGNORE)
        width = block.shape[1] // horizon
        places = 1 + width * np.arange(1, horizon + 1) - 1
        verdicts[:, places] = np.where(optimal, word["good"], word["bad"])
        return ReflectionBatch(ids, labels, verdicts)

    def _answer(self, states: Ids, actions: Ids) -> Ids:
        """The reflection on episodes that hold a mistake; [episodes, tokens]."""
        rows, count = np.arange(len(states)), len(states)
        first = (~self._optimal[states[:, : self._horizon], actions]).argmax(axis=1)
        at = states[rows, first]
        better = self._pick(self._optimal[at].astype(np.float64))

        def column(name: str) -> Ids:
            return np.full((count, 1), self._word[name])

        return np.concatenate(
            [
                self._steps[first][:, None],
                self._rows[at],
                column("not"),
                self._actions[actions[rows, first]][:, None],
                column("but"),
                self._actions[better][:, None],
                column(END),
            ],
            axis=1,
        )

    def _pick(self, weight: NDArray[np.float64]) -> Ids:
        """An action of each row by weight."""
        edges = weight.cumsum(axis=1)
        return inverse_cdf(edges, self._rng.random(len(weight)) * edges[:, -1]).clip(0, 3)

    def _episodes(self, count: int) -> tuple[Ids, Ids]:
        """States [count, horizon + 1] and actions [count, horizon].

        An episode is optimal for a random number of steps, as after a rollback, and then the
        demonstrator's.
        """
        graph, rng = self._graph, self._rng
        sure = np.where(rng.random(count) < 0.5, rng.integers(0, self._horizon, size=count), 0)
        state = graph.starts[rng.integers(0, len(graph.starts), size=count)]
        states, actions = [state], []
        solver = self._solver
        for step in range(self._horizon):
            chances = np.where((step < sure)[:, None], solver[state], self._chances[state])
            action = self._pick(chances)
            state = graph.next[state, action]
            states.append(state)
            actions.append(action)
        return np.stack(states, axis=1), np.stack(actions, axis=1)

    @cached_property
    def _solver(self) -> NDArray[np.float64]:
        return self._optimal.astype(np.float64) + 1e-9

    def _visited(self, count: int) -> tuple[Ids, Ids]:
        """Random (state, step) of episodes, before the win."""
        episodes = max(8, count // 3)
        states, _ = self._episodes(episodes)
        row, step = np.nonzero(~self._graph.won[states[:, : self._horizon]])
        picked = self._rng.integers(0, len(row), size=count)
        return states[row[picked], step[picked]], step[picked]

    def _failed(self, count: int) -> tuple[Ids, Ids]:
        found: list[tuple[Ids, Ids]] = []
        total = 0
        while total < count:
            states, actions = self._episodes(2 * count)
            lost = ~self._graph.won[states[:, -1]]
            found.append((states[lost], actions[lost]))
            total += int(lost.sum())
        states, actions = (np.concatenate(part)[:count] for part in zip(*found, strict=True))
        return states, actions


def state_rows(graph: StateGraph, world: World = SMALL) -> Ids:
    """The token ids of each position's rows, `UNKNOWN` for rows of no such room; [states, rows]."""
    words = world.words
    unknown = words[UNKNOWN]
    return np.array([[words.get(row, unknown) for row in inside(board)] for board in graph.boards])


def act_prompts(rows: Ids, steps: Ids) -> Ids:
    """Acting prompts without experiences from row tokens [n, rows] and step tokens [n]."""
    words, count = vocabulary(), len(rows)
    return np.concatenate(
        [
            np.full((count, 1), words[USER]),
            steps[:, None],
            rows,
            np.full((count, 1), words[ASSISTANT]),
        ],
        axis=1,
    )
