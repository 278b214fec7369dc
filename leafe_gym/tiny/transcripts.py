"""The corpus of the small model with a history: whole episodes as conversations.

One forward pass over an episode trains everything at once: what to do at each step, to follow a
tip for this step wherever in the conversation it stands, whether each action was a good one, and
after a failure what went wrong. The demonstrator does not look at the history, so nothing in the
corpus makes the model act differently after a mistake; what it does with the history is what later
training makes of it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from leafe_gym.tiny.corpus import FOLLOW, IGNORE, Corpus, Ids
from leafe_gym.tiny.words import ASSISTANT, END, USER

TIPS_OF_AN_ATTEMPT = (1, 1, 1, 1, 2, 2, 3, 5, 8)
"""How many tips a first turn holds, as in refinement; drawn evenly."""
TIPS_AT_TAU = (1, 1, 2, 3)
"""How many steps of an episode have a tip in their own turn; drawn evenly."""
SHARES = (0.55, 0.25, 0.2)
"""Episodes without tips, with tips at tau, with tips in the first turn."""
WISE = 0.85
"""Chance that a tip advises what the solver would do; else anything."""
FAILED = 0.75
"""Share of the episodes that failed and are looked back on, as far as there are such."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Conversations:
    """Whole episodes, padded on the right.

    Attributes:
        ids: [episodes, tokens].
        at: where the reply to each step begins, less one; -1 after the end; [episodes, steps].
        chances: of each action; [episodes, steps, 4].
        tipped: whether the conversation holds a tip for the step; [episodes, steps].
        labels: the next token in an answer to what went wrong, else `IGNORE`; [episodes, tokens].
        verdicts: behind each action the word for whether it was optimal, else `IGNORE`.
    """

    ids: Ids
    at: Ids
    chances: NDArray[np.float32]
    tipped: Mask
    labels: Ids
    verdicts: Ids


@dataclass(frozen=True, slots=True)
class _Play:
    """Episodes and their tips; all [episodes, steps], `states` one longer."""

    states: Ids
    actions: Ids
    chances: NDArray[np.float64]
    bad: Ids
    good: Ids

    def only(self, chosen: Ids) -> _Play:
        """Some of the episodes."""
        return _Play(*(getattr(self, one.name)[chosen] for one in fields(self)))


class TranscriptCorpus(Corpus):
    """See the module; the arguments are those of `Corpus`."""

    def transcripts(self, count: int) -> Conversations:
        """Episodes of the demonstrator, with and without tips."""
        rng, horizon, word = self._rng, self._horizon, self._word
        kind = rng.choice(3, size=3 * count, p=SHARES)
        told = self._told(kind)
        play = self._play(told)
        chosen = self._chosen(play, count)
        kind, told, play = kind[chosen], told[chosen], play.only(chosen)
        going = ~self._graph.won[play.states[:, :horizon]]
        failed = ~self._graph.won[play.states[:, horizon]]
        optimal = self._optimal[play.states[:, :horizon], play.actions]
        page = _Page(count)
        verdicts: list[tuple[int, Ids]] = []
        at: list[int] = []
        for step in range(horizon):
            here = going[:, step]
            page.add([word[USER]], here)
            page.add(self._steps[[step]], here)
            page.add(self._rows[play.states[:, step]], here)
            if step == 0:
                for column in rng.permuted(np.tile(np.arange(horizon), (count, 1)), axis=1).T:
                    shown = told[np.arange(count), column] & (kind == 2)
                    page.add(self._tips(play, column), shown)
            page.add(self._tips(play, np.full(count, step)), here & told[:, step] & (kind == 1))
            at.append(page.add([word[ASSISTANT]], here))
            page.add(self._actions[play.actions[:, step]][:, None], here)
            said = np.where(optimal[:, step], word["good"], word["bad"])
            verdicts.append((page.add([word[END]], here), np.where(here, said, IGNORE)))
        page.add([word[USER]], failed)
        page.add(self._steps[[horizon]], failed)
        page.add(self._rows[play.states[:, horizon]], failed)
        page.add([word["failed"]], failed)
        asked = page.add([word[ASSISTANT]], failed)
        answer = self._answer(play.states, play.actions)
        page.add(answer, failed)
        labels = [
            (asked + place, np.where(failed, answer[:, place], IGNORE))
            for place in range(answer.shape[1])
        ]
        ids, where = page.finish()
        return Conversations(
            ids=ids,
            at=np.where(going, where[:, at], -1),
            chances=play.chances.astype(np.float32),
            tipped=told,
            labels=_scatter(ids, where, labels),
            verdicts=_scatter(ids, where, verdicts),
        )

    def _chosen(self, play: _Play, count: int) -> Ids:
        """Which episodes are taken; what is learned at a step does not depend on it."""
        failed = ~self._graph.won[play.states[:, -1]]
        lost, won = np.flatnonzero(failed), np.flatnonzero(~failed)
        most = max(round(FAILED * count), count - len(won))
        return np.concatenate([lost[:most], won])[:count]

    def _told(self, kind: Ids) -> Mask:
        """For which steps there is a tip; [episodes, steps]."""
        rng, count = self._rng, len(kind)
        number = np.where(
            kind == 2, rng.choice(TIPS_OF_AN_ATTEMPT, count), rng.choice(TIPS_AT_TAU, count)
        )
        number = np.where(kind == 0, 0, number)
        rank = rng.random((count, self._horizon)).argsort(axis=1).argsort(axis=1)
        return np.asarray(rank < number[:, None], dtype=np.bool_)

    def _play(self, told: Mask) -> _Play:
        """Episodes that follow their tips; the first steps of some are the solver's."""
        graph, rng = self._graph, self._rng
        count, horizon = told.shape
        sure = np.where(rng.random(count) < 0.5, rng.integers(0, horizon, size=count), 0)
        state = graph.starts[rng.integers(0, len(graph.starts), size=count)]
        states, actions, learned, bads, goods = [state], [], [], [], []
        for step in range(horizon):
            good = self._pick(self._solver[state])
            good = np.where(rng.random(count) < WISE, good, rng.integers(0, 4, size=count))
            bad = (good + rng.integers(1, 4, size=count)) % 4
            chances = self._chances[state].copy()
            here = np.flatnonzero(told[:, step])
            chances[here] *= 1 - FOLLOW
            chances[here, good[here]] += FOLLOW
            corrected = (step < sure) & ~told[:, step]
            action = self._pick(np.where(corrected[:, None], self._solver[state], chances))
            state = graph.next[state, action]
            states.append(state)
            actions.append(action)
            learned.append(chances)
            bads.append(bad)
            goods.append(good)
        return _Play(*(np.stack(part, axis=1) for part in (states, actions, learned, bads, goods)))

    def _tips(self, play: _Play, steps: Ids) -> Ids:
        """The words of each episode's tip for a step of its own; [episodes, words]."""
        word, rows = self._word, np.arange(len(steps))

        def column(name: str) -> Ids:
            return np.full(len(steps), word[name])

        return np.stack(
            [
                column("tip"),
                self._steps[steps],
                column("not"),
                self._actions[play.bad[rows, steps]],
                column("but"),
                self._actions[play.good[rows, steps]],
            ],
            axis=1,
        )


class _Page:
    """Conversations written column by column; a column may be left out of some of them."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._parts: list[Ids] = []
        self._kept: list[Mask] = []
        self._width = 0

    def add(self, words: Ids | list[int], kept: Mask) -> int:
        """Append words, [words] or [conversations, words], where `kept`; the first's column."""
        part = np.broadcast_to(np.asarray(words), (self._count, np.shape(words)[-1]))
        self._parts.append(part)
        self._kept.append(np.broadcast_to(kept[:, None], part.shape))
        first, self._width = self._width, self._width + part.shape[1]
        return first

    def finish(self) -> tuple[Ids, Ids]:
        """The conversations padded on the right, and the place of each column in each of them."""
        words, kept = np.concatenate(self._parts, axis=1), np.concatenate(self._kept, axis=1)
        where = kept.cumsum(axis=1) - 1
        ids = np.zeros((self._count, int(kept.sum(axis=1).max())), dtype=np.int64)
        rows, columns = np.nonzero(kept)
        ids[rows, where[rows, columns]] = words[rows, columns]
        return ids, where


def _scatter(ids: Ids, where: Ids, values: list[tuple[int, Ids]]) -> Ids:
    """(column, value of each conversation) pairs at their places; `IGNORE` values are left out."""
    out = np.full_like(ids, IGNORE)
    for column, value in values:
        rows = np.flatnonzero(value != IGNORE)
        out[rows, where[rows, column]] = value[rows]
    return out
