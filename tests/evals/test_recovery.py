"""recovery@k: the same states for every policy, reached by rolling back, without any experience."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import leafe_gym as lg
from leafe_gym.errors import ConfigMismatch, UsageError
from leafe_gym.evals.recovery import RecoveryPool
from leafe_gym.evals.reproduce.levels import LevelSet
from leafe_gym.prompts.base import prompt_set
from leafe_gym.testing.players.sokoban import SokobanPlayer
from leafe_gym.types import Message, Task

SHORT = lg.EvalConfig(max_tokens=4)
FAST: dict[str, Any] = {"size": 6, "boxes": 1, "max_steps": 14, "split": "val"}


@pytest.fixture(scope="module")
def levels() -> LevelSet:
    return LevelSet.of("val", 16)


@pytest.fixture(scope="module")
def pool(levels: LevelSet) -> RecoveryPool:
    return lg.recovery_pool("tiny", levels.tasks, seed=4, config=SHORT)


def test_states_are_the_first_that_can_be_made_good(pool: RecoveryPool, levels: LevelSet) -> None:
    assert len(pool.mistakes) >= 5
    assert pool.tasks == 16
    assert len({one.task.id for one in pool.mistakes}) == len(pool.mistakes)
    for one in pool.mistakes:
        env = gym.make(one.task.env_id, **dict(one.task.kwargs))
        board, _ = env.reset(seed=one.task.seed)
        lengths = [env.unwrapped.distance()]  # type: ignore[attr-defined]
        for step in one.steps:
            if step.action is not None:
                board = env.step(step.action)[0]
                lengths.append(env.unwrapped.distance())  # type: ignore[attr-defined]
        rises = [after > before for before, after in itertools.pairwise(lengths)]
        assert rises.index(True) == len(rises) - 1
        assert board == one.steps[-1].observation
        assert one.distance == lengths[-1]
        assert env.unwrapped.steps_left() >= one.distance + 2  # type: ignore[attr-defined]


def test_agrees_with_exact_chances(pool: RecoveryPool, levels: LevelSet) -> None:
    policy = lg.policy("tiny")
    found = lg.evaluate_recovery(policy, pool, samples=50, seed=1, config=SHORT)
    graph = levels.graph
    numbers = {task.id: number for number, task in enumerate(levels.tasks)}
    states, steps = [], []
    for one in pool.mistakes:
        own = np.flatnonzero(graph.level == numbers[one.task.id])
        states.append(next(s for s in own if graph.boards[int(s)] == one.steps[-1].observation))
        steps.append(one.actions)
    chain = levels.chain(policy.network)  # type: ignore[attr-defined]
    exact = chain.success(np.array(states), np.array(steps))
    error = np.sqrt((exact * (1 - exact) / 50).sum()) / len(exact)
    assert found.samples.tolist() == [50] * len(exact)
    assert abs(found.pass_at(1)[1].mean - exact.mean()) < 3 * error


def test_the_same_pool_after_saving_and_at_any_concurrency(
    pool: RecoveryPool, levels: LevelSet, tmp_path: Path
) -> None:
    pool.save(tmp_path / "pool.json")
    loaded = RecoveryPool.load(tmp_path / "pool.json")
    assert loaded.mistakes == pool.mistakes
    assert lg.recovery_pool("tiny", levels.tasks, seed=4, concurrency=3, config=SHORT) == pool
    (tmp_path / "pool.json").write_text('{"tasks": 1}', "utf-8")
    with pytest.raises(UsageError, match="holds no recovery pool"):
        RecoveryPool.load(tmp_path / "pool.json")


def test_no_experience_is_shown_and_the_history_is(tmp_path: Path) -> None:
    tasks = lg.tasks("leafe/Sokoban-v0", **FAST)[:12]
    pool = lg.recovery_pool("scripted", tasks, rollouts=8)
    assert pool.mistakes
    seen: list[list[Message]] = []
    player = SokobanPlayer()

    async def listening(messages: list[Message], sampling: lg.Sampling) -> lg.Completion:
        seen.append(messages)
        return await player.complete(messages, sampling)

    pool = RecoveryPool(pool.mistakes[:1], 1)
    found = lg.evaluate_recovery(listening, pool, samples=3, out=tmp_path / "run")
    assert found.samples.tolist() == [3]
    one = pool.mistakes[0]
    first = [message["content"] for message in seen[0]]
    assert all(any(step.reply in turn for turn in first) for step in one.steps)
    with lg.RunReader(tmp_path / "run") as run:
        (tree,) = run.trees()
    assert [branch.parent for branch in tree.branches] == [None, 0, 0, 0]
    assert all(tree.history(n)[: len(one.steps)] == list(one.steps) for n in (1, 2, 3))
    assert seen[0] == prompt_set("chat").render(tree.task, tree.start, tree.history(0))


def test_resumes_and_refuses_another_pool(tmp_path: Path) -> None:
    tasks = lg.tasks("leafe/Sokoban-v0", **FAST)[:12]
    pool = lg.recovery_pool("scripted", tasks, rollouts=8)

    def again(pool: RecoveryPool) -> dict[str, object]:
        return lg.evaluate_recovery("scripted", pool, samples=5, out=tmp_path / "run").as_dict()

    first = again(pool)
    assert again(pool) == first
    shorter = RecoveryPool(pool.mistakes[1:], pool.tasks)
    with pytest.raises(ConfigMismatch):
        again(shorter)


class NoDistance(gym.Env[str, str]):
    """Over with its first step; knows no distance."""

    observation_space = action_space = lg.TextSpace()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        return "go", {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        return "gone", 0.0, True, False, {"won": False}


def test_environments_without_a_distance_are_refused() -> None:
    if "test/NoDistance-v0" not in gym.registry:
        gym.register("test/NoDistance-v0", lambda **_: NoDistance())
    with pytest.raises(UsageError, match=r"does not know its distance.*distance\(\)"):
        lg.recovery_pool("scripted", [Task(id="one", env_id="test/NoDistance-v0")])


def test_an_empty_pool_is_refused() -> None:
    with pytest.raises(UsageError, match="pool is empty"):
        lg.evaluate_recovery("scripted", RecoveryPool((), 3))
