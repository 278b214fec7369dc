"""Data as tasks and as graphs, policies as Markov chains on them, and the recovery pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafe_gym.envs.sokoban.graph import NEVER, StateGraph
from leafe_gym.envs.tasks import tasks as list_tasks
from leafe_gym.evals.reproduce.batched_sampling import Talk
from leafe_gym.evals.reproduce.exact import Chain
from leafe_gym.evals.reproduce.protocol import POOL_ROLLOUTS, POOL_SLACK
from leafe_gym.seeds import derive_rng
from leafe_gym.tiny.corpus import act_prompts, state_rows
from leafe_gym.tiny.policy import TinyPolicy
from leafe_gym.tiny.pretrain import make_levels
from leafe_gym.tiny.words import SMALL, World, vocabulary
from leafe_gym.types import Json, Task


@dataclass(frozen=True, slots=True)
class Data:
    """The first levels of a split.

    Attributes:
        tasks: as the engine takes them.
        graph: the same levels with all their positions.
        rows: token ids of each position's rows; [states, room].
        world: whose words these are.
    """

    tasks: Sequence[Task]
    graph: StateGraph
    rows: NDArray[np.int64]
    world: World = SMALL

    @classmethod
    def of(cls, split: str, count: int, world: World = SMALL, **changes: Json) -> Data:
        """`count` levels; `changes` override the arguments of the environment."""
        tasks = list_tasks("leafe/Sokoban-v0", split=split, **{**world.levels, **changes})[:count]
        graph = make_levels(split, [task.seed for task in tasks], world, **changes)
        return cls(tasks, graph, state_rows(graph, world), world)

    def chain(self, network: Any) -> Chain:
        """A model playing these levels without memory."""
        policy = TinyPolicy(network)
        words = vocabulary()

        def chances(states: NDArray[np.int64], step: int) -> NDArray[np.float64]:
            steps = np.full(len(states), words[f"s{step}"])
            return policy.chances(act_prompts(self.rows[states], steps))

        return Chain(self.graph, chances, self.world.steps)

    def talk(self, network: Any) -> Talk:
        """A model playing these levels with its history."""
        return Talk(self.graph, self.rows, network, self.world.steps)


@dataclass(frozen=True, slots=True)
class Pool:
    """Where the base went wrong: one state a level at most.

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


def recovery_pool(levels: Data, base: Any, seed: int) -> Pool:
    """The state after the first step that made the shortest solution longer, for each level.

    Of 16 rollouts of the base, the first that has one counts. The state must still be solvable
    with two steps to spare.
    """
    graph = levels.graph
    count = len(graph.starts)
    episodes = levels.chain(base).sample(
        np.repeat(graph.starts, POOL_ROLLOUTS), derive_rng(seed, "pool")
    )
    distance = graph.distance[episodes.states]
    worse = distance[:, 1:] > distance[:, :-1]
    first = worse.argmax(axis=1)
    rows = np.arange(len(first))
    state = episodes.states[rows, first + 1]
    left = levels.world.steps - (first + 1)
    good = worse.any(axis=1) & (graph.distance[state] < NEVER)
    good &= left >= graph.distance[state] + POOL_SLACK
    good = good.reshape(count, POOL_ROLLOUTS)
    chosen = np.arange(count) * POOL_ROLLOUTS + good.argmax(axis=1)
    has = good.any(axis=1)
    return Pool(np.flatnonzero(has), state[chosen][has], (first + 1)[chosen][has])
