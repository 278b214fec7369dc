"""LevelSet as tasks and as graphs, policies as Markov chains on them, and the recovery pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafe_gym.envs.sokoban.graph import NEVER, StateGraph
from leafe_gym.envs.sokoban.layouts import Place, Split, find_levels, read_levels
from leafe_gym.envs.tasks import tasks as list_tasks
from leafe_gym.evals.reproduce.batched_sampling import ConversationSampler
from leafe_gym.evals.reproduce.exact import Episodes, PolicyChain
from leafe_gym.evals.reproduce.protocol import POOL_ROLLOUTS, POOL_SLACK
from leafe_gym.seeds import derive_rng
from leafe_gym.tiny.corpus import Ids, act_prompts, state_rows
from leafe_gym.tiny.policy import TinyPolicy
from leafe_gym.tiny.pretrain import make_levels
from leafe_gym.tiny.words import SMALL, World, vocabulary
from leafe_gym.types import Json, Task


@dataclass(frozen=True, slots=True)
class LevelSet:
    """The first levels of a split.

    Attributes:
        tasks: as the engine takes them.
        graph: the same levels with all their positions.
        rows: token ids of each position's rows; [states, room].
        world: the rooms.
    """

    tasks: Sequence[Task]
    graph: StateGraph
    rows: NDArray[np.int64]
    world: World = SMALL

    @classmethod
    def of(cls, split: str, count: int, world: World = SMALL, **changes: Json) -> LevelSet:
        """`count` levels; `changes` override the arguments of the environment."""
        tasks = list_tasks("leafe/Sokoban-v0", split=split, **{**world.levels, **changes})[:count]
        graph = make_levels(split, [task.seed for task in tasks], world, **changes)
        return cls(tasks, graph, state_rows(graph, world), world)

    @classmethod
    def of_layouts(
        cls,
        split: Split,
        count: int,
        world: World = SMALL,
        *,
        distinct: bool = True,
        **changes: Json,
    ) -> LevelSet:
        """`count` levels whose layout belongs to `split`; see `leafe_gym.envs.sokoban.layouts`.

        Args:
            split: of the layouts.
            count: of levels.
            world: the rooms.
            distinct: one level of each layout.
            changes: override the arguments of the environment.

        Raises:
            UsageError: if the split has not so many.
        """
        arguments = {**world.levels, **changes}
        return cls.at(find_levels(split, count, arguments, distinct=distinct), world, **changes)

    @classmethod
    def at(cls, places: Sequence[Place], world: World = SMALL, **changes: Json) -> LevelSet:
        """The levels at `places`; see `leafe_gym.envs.sokoban.layouts.find_levels`."""
        tasks, boards = read_levels(places, {**world.levels, **changes})
        graph = StateGraph.of(boards)
        return cls(tasks, graph, state_rows(graph, world), world)

    def chain(self, network: Any, temperature: float = 1.0) -> PolicyChain:
        """A model playing these levels without memory, sampled at `temperature`."""
        policy = TinyPolicy(network)
        words = vocabulary()

        def chances(states: NDArray[np.int64], step: int) -> NDArray[np.float64]:
            steps = np.full(len(states), words[f"s{step}"])
            return policy.chances(act_prompts(self.rows[states], steps), temperature)

        return PolicyChain(self.graph, chances, self.world.steps)

    def conversations(self, network: Any) -> ConversationSampler:
        """A model playing these levels with its history."""
        return ConversationSampler(self.graph, self.rows, network, self.world.steps)


@dataclass(frozen=True, slots=True)
class StatePool:
    """States after a mistake of the base: one a level at most.

    Attributes:
        level: the level of each state; [pool].
        states: [pool].
        steps: steps taken when it was reached; [pool].
    """

    level: NDArray[np.int64]
    states: NDArray[np.int64]
    steps: NDArray[np.int64]


def load(folder: Path, device: str = "cpu") -> Any:
    """The network saved in a folder."""
    return TinyPolicy.load(folder, device).network


def recovery_pool(levels: LevelSet, base: Any, seed: int) -> StatePool:
    """The state after the base's first mistake on each level, from `POOL_ROLLOUTS` rollouts."""
    starts = np.repeat(levels.graph.starts, POOL_ROLLOUTS)
    episodes = levels.chain(base).sample(starts, derive_rng(seed, "pool"))
    level, chosen, taken = first_mistakes(levels, episodes)
    return StatePool(level, episodes.states[chosen, taken], taken)


def first_mistakes(levels: LevelSet, episodes: Episodes) -> tuple[Ids, Ids, Ids]:
    """The first rollout of each level whose first mistake can be recovered from.

    A mistake makes the shortest solution longer. It can be recovered from if the steps left exceed
    the shortest solution by `POOL_SLACK` or more.

    Args:
        levels: the levels.
        episodes: `POOL_ROLLOUTS` of each level, in order.

    Returns:
        Levels that have one, the episode of each, and the actions taken at the mistake; [pool].
    """
    far = levels.graph.distance[episodes.states]
    longer = far[:, 1:] > far[:, :-1]
    taken = longer.argmax(axis=1) + 1
    after = far[np.arange(len(taken)), taken]
    found = longer.any(axis=1) & (after < NEVER)
    found &= levels.world.steps - taken >= after + POOL_SLACK
    found = found.reshape(-1, POOL_ROLLOUTS)
    level = np.flatnonzero(found.any(axis=1))
    chosen = level * POOL_ROLLOUTS + found[level].argmax(axis=1)
    return level, chosen, taken[chosen]
