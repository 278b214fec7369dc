"""The small model's probability of winning, exactly, and fast sampling of its episodes.

A memoryless policy on a deterministic game is a Markov chain over (position, step). Its
probability of winning is computed by dynamic programming, without sampling noise; and batches of
episodes are sampled in lockstep with one model call for each (position, step) that occurs.

Unusable replies are treated as by the agents: the same prompt is asked again, and
`UNPARSABLE_IN_A_ROW` such replies in a row lose the episode.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leafe_gym.agents.config import UNPARSABLE_IN_A_ROW
from leafe_gym.envs.sokoban.graph import StateGraph
from leafe_gym.tiny.sampling import inverse_cdf

Chances = Callable[[NDArray[np.int64], int], NDArray[np.float64]]
"""`f(states, step)`: the chance of each action, [len(states), 4]; the rest to 1 are unusable
replies."""

States = NDArray[np.int64]
Mask = NDArray[np.bool_]
Chance = NDArray[np.float64]
Ask = Callable[[int, States, States | None, Mask], Chance]
"""`f(step, states, actions before, going)`: the chance of each action in every episode,
[episodes, 4]; only those of episodes that go on are used."""


@dataclass(frozen=True, slots=True)
class PolicyChain:
    """A policy on levels, with a step limit.

    Attributes:
        graph: the levels.
        chances: the policy.
        horizon: steps of an episode.
    """

    graph: StateGraph
    chances: Chances
    horizon: int

    def success(
        self,
        starts: NDArray[np.int64] | None = None,
        first: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float64]:
        """The chance of a win from each start; [starts].

        Args:
            starts: positions; default those the levels begin with.
            first: steps taken before them; default none.
        """
        graph = self.graph
        starts = graph.starts if starts is None else starts
        begun = np.zeros(len(starts), dtype=np.int64) if first is None else first
        asked = [np.zeros(0, dtype=np.int64)] * self.horizon
        known = [np.zeros((0, 4))] * self.horizon
        here = np.zeros(len(graph.won), dtype=np.bool_)
        for step in range(self.horizon):
            here[starts[begun == step]] = True
            # A position from which the steps left cannot win adds nothing.
            states = np.flatnonzero(here & (graph.distance <= self.horizon - step) & ~graph.won)
            asked[step] = states
            known[step] = asked_again(self.chances(states, step)) if len(states) else known[step]
            here = np.zeros_like(here)
            here[graph.next[states].ravel()] = True
        value = graph.won.astype(np.float64)
        answer = np.where(begun >= self.horizon, value[starts], 0.0)
        for step in reversed(range(self.horizon)):
            before = graph.won.astype(np.float64)
            states = asked[step]
            before[states] = (known[step] * value[graph.next[states]]).sum(axis=1)
            value = before
            answer = np.where(begun == step, value[starts], answer)
        return answer

    def sample(
        self,
        starts: NDArray[np.int64],
        rng: np.random.Generator,
        first: int = 0,
    ) -> Episodes:
        """One episode from each of `starts`, all in lockstep."""

        def ask(step: int, state: States, before: States | None, going: Mask) -> Chance:
            unique, where = np.unique(state, return_inverse=True)
            needed = np.unique(where[going])
            chances = np.zeros((len(unique), 4))
            if len(needed):
                chances[needed] = self.chances(unique[needed], step)
            return chances[where]

        return lockstep(self.graph, starts, range(first, self.horizon), ask, rng)


def lockstep(
    graph: StateGraph,
    starts: States,
    steps: range,
    ask: Ask,
    rng: np.random.Generator,
    given: NDArray[np.int64] | None = None,
) -> Episodes:
    """One episode from each of `starts`, all of them step by step together.

    Args:
        graph: the levels.
        starts: positions; [episodes].
        steps: numbers of the steps.
        ask: the policy.
        rng: draws the actions.
        given: actions that replace the policy's, -1 where it chooses;
            [episodes, steps].
    """
    state = starts.copy()
    going = ~graph.won[state]
    states: list[States] = [state]
    actions: list[States] = []
    unusable: list[States] = []
    for place, step in enumerate(steps):
        edges = ask(step, state, actions[-1] if actions else None, going).cumsum(axis=1)
        action = np.where(going, 4, -1)
        if given is not None:
            action = np.where(going & (given[:, place] >= 0), given[:, place], action)
        bad = np.zeros(len(state), dtype=np.int64)
        for _ in range(UNPARSABLE_IN_A_ROW):
            drawn = inverse_cdf(edges, rng.random(len(state)))
            action = np.where(action == 4, drawn, action)
            bad += action == 4
        moved = (action >= 0) & (action < 4)
        state = np.where(moved, graph.next[state, action.clip(0, 3)], state)
        going = moved & ~graph.won[state]
        states.append(state)
        actions.append(action)
        unusable.append(bad)
    return Episodes(
        np.stack(states, 1), np.stack(actions, 1), np.stack(unusable, 1), graph.won[state]
    )


@dataclass(frozen=True, slots=True)
class Episodes:
    """Episodes drawn in lockstep.

    Attributes:
        states: position before each step and after the last; [episodes, steps + 1].
        actions: -1 after the end, 4 where no reply held an action; [episodes, steps].
        unusable: replies without an action before that action; [episodes, steps].
        won: [episodes].
    """

    states: NDArray[np.int64]
    actions: NDArray[np.int64]
    unusable: NDArray[np.int64]
    won: NDArray[np.bool_]

    def only(self, kept: NDArray[np.bool_]) -> Episodes:
        """Some of the episodes."""
        return Episodes(self.states[kept], self.actions[kept], self.unusable[kept], self.won[kept])

    @property
    def interactions(self) -> NDArray[np.int64]:
        """Budget units each episode costs: every reply a call, every action a step; [episodes]."""
        return np.asarray(2 * self.acted.sum(axis=1) + self.unusable.sum(axis=1), dtype=np.int64)

    @property
    def acted(self) -> NDArray[np.bool_]:
        """Where an action was taken; [episodes, steps]."""
        return np.asarray((self.actions >= 0) & (self.actions < 4), dtype=np.bool_)


def asked_again(chances: NDArray[np.float64]) -> NDArray[np.float64]:
    """The probability of each action if unusable replies are asked again; [states, 4]."""
    none = np.clip(1 - chances.sum(axis=1, keepdims=True), 0, 1)
    again: NDArray[np.float64] = sum(none**tries for tries in range(UNPARSABLE_IN_A_ROW))
    return chances * again
