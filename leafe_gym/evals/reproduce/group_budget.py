"""Groups of rollouts for GRPO within a budget."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import Generator

from leafe_gym.envs.sokoban.rules import ACTIONS
from leafe_gym.evals.reproduce.exact import Episodes
from leafe_gym.evals.reproduce.grpo import EpisodeBatch, ReplySample
from leafe_gym.evals.reproduce.levels import LevelSet
from leafe_gym.tiny.corpus import Ids, act_prompts
from leafe_gym.tiny.policy import TinyPolicy
from leafe_gym.tiny.sampling import inverse_cdf
from leafe_gym.tiny.words import END, vocabulary


class GroupBudget:
    """Groups of rollouts, until no level's budget holds two more rollouts.

    Args:
        levels: training levels.
        interactions: budget a level.
        rng: of all random choices.
        group: rollouts of a level in a group.
        tasks: levels of an update.
        temperature: of sampling.
    """

    def __init__(
        self,
        levels: LevelSet,
        interactions: int,
        rng: Generator,
        *,
        group: int,
        tasks: int,
        temperature: float = 1.0,
    ) -> None:
        self._levels, self._rng, self._group, self._tasks = levels, rng, group, tasks
        self._temperature = temperature
        self._left = np.full(len(levels.tasks), interactions)
        self._whole = int(self._left.sum())
        self._deck: list[int] = []

    @property
    def spent(self) -> int:
        """Calls, all levels together."""
        return self._whole - int(self._left.sum())

    def sample(self, network: Any, update: int) -> EpisodeBatch | None:
        """See `leafe_gym.evals.reproduce.grpo.EpisodeSampler`."""
        sizes = np.minimum(self._group, self._left // (2 * self._levels.world.steps))
        if not self._deck:
            self._deck = self._rng.permutation(np.flatnonzero(sizes >= 2)).tolist()
        if not self._deck:
            return None
        levels = np.array(self._deck[: self._tasks])
        del self._deck[: self._tasks]
        groups = np.repeat(levels, sizes[levels])
        graph = self._levels.graph
        chain = self._levels.chain(network, self._temperature)
        episodes = chain.sample(graph.starts[groups], self._rng)
        # Unusable replies can make a group cost more than planned: what exceeds the budget is cut.
        before = np.array(
            [episodes.interactions[:at][groups[:at] == g].sum() for at, g in enumerate(groups)]
        )
        kept = before + episodes.interactions <= self._left[groups]
        np.subtract.at(self._left, groups[kept], episodes.interactions[kept])
        self._left[groups[~kept]] = 0
        episodes, groups = episodes.only(kept), groups[kept]
        return EpisodeBatch(
            samples=_samples(self._levels, network, episodes, self._rng, self._temperature),
            rewards=episodes.won.astype(np.float64),
            groups=groups,
        )


def _samples(
    levels: LevelSet, network: Any, episodes: Episodes, rng: Generator, temperature: float
) -> list[ReplySample]:
    """Every reply of the episodes; of an unusable one the first word, which makes it unusable."""
    words = vocabulary()
    steps = np.array([words[f"s{number}"] for number in range(levels.world.steps)])
    names = [words[action] for action in ACTIONS]

    def prompts(episode: Ids, step: Ids) -> Ids:
        return act_prompts(levels.rows[episodes.states[episode, step]], steps[step])

    def sample(prompt: list[int], reply: tuple[int, ...], episode: int) -> ReplySample:
        return ReplySample(ids=(*prompt, *reply), target_start=len(prompt), episode=episode)

    episode, step = np.nonzero(episodes.acted)
    taken = episodes.actions[episode, step].tolist()
    found = [
        sample(prompt, (names[action], words[END]), number)
        for prompt, action, number in zip(
            prompts(episode, step).tolist(), taken, episode.tolist(), strict=True
        )
    ]
    episode, step = np.nonzero(episodes.unusable)
    if not len(episode):
        return found
    times = episodes.unusable[episode, step]
    asked, owner = prompts(episode, step).repeat(times, axis=0), episode.repeat(times)
    likely = TinyPolicy(network).next_word(asked, temperature)
    likely[:, names] = 0.0
    edges = likely.cumsum(axis=1)
    said = inverse_cdf(edges, rng.random(len(asked)) * edges[:, -1])
    return found + [
        sample(prompt, (word,), number)
        for prompt, word, number in zip(asked.tolist(), said.tolist(), owner.tolist(), strict=True)
    ]
