"""Splits by layout: no state of a training level is a state of a test level.

The split of a board separates start boards only; a test level can begin in a state that a training
level passes through. A layout, walls and targets up to symmetry, is the same in all states of a
level, so levels of different layouts have no state in common (docs/reproduction/protocol.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Literal

import gymnasium as gym

from leafe_gym.envs.sokoban.rules import Board
from leafe_gym.envs.sokoban.symmetry import layout
from leafe_gym.envs.tasks import tasks as list_tasks
from leafe_gym.errors import UsageError
from leafe_gym.types import Json, Task

Split = Literal["train", "val", "test"]
TRAIN, VALIDATION = 50, 10
"""Percent of the layouts; the rest is for tests."""
DRAWN_FROM: dict[Split, tuple[Split, ...]] = {
    "train": ("train",),
    "val": ("val", "train"),
    "test": ("test", "train"),
}
"""The splits of boards that levels of a split of layouts are drawn from."""
TRIES = 200
"""Levels that are looked at for each one wanted."""


def layout_split(board: Board) -> Split:
    """The split of a board's layout: 50 % train, 10 % val, 40 % test."""
    digest = blake2b(layout(board).encode("ascii"), digest_size=8, person=b"layout").digest()
    place = int.from_bytes(digest, "big") % 100
    return "train" if place < TRAIN else "val" if place < TRAIN + VALIDATION else "test"


def boards(
    split: Split, arguments: Mapping[str, Json], seeds: Iterable[int], of: Split | None = None
) -> Iterator[tuple[int, Board]]:
    """Seed and board of each level whose layout is of a split.

    Args:
        split: of the layouts.
        arguments: of `leafe/Sokoban-v0`.
        seeds: of the levels to look at.
        of: the split of boards that the levels are drawn from; default the same.
    """
    env = gym.make("leafe/Sokoban-v0", disable_env_checker=True, split=of or split, **arguments)
    for seed in seeds:
        env.reset(seed=seed)
        board: Board = env.unwrapped.board  # type: ignore[attr-defined]
        if layout_split(board) == split:
            yield seed, board


Place = tuple[Split, int]
"""A level: the split of boards that it is drawn from, and its seed."""


def find_levels(
    split: Split, count: int, arguments: Mapping[str, Json], *, distinct: bool
) -> list[Place]:
    """Where the first `count` levels are whose layout is of a split.

    Levels are drawn from the split of boards of the same name. It does not hold a board of every
    layout, so for "val" and "test" other boards of the layouts are looked at after it.

    Args:
        split: of the layouts.
        count: of levels.
        arguments: of `leafe/Sokoban-v0`.
        distinct: one level of each layout.

    Raises:
        UsageError: if there are not so many among the first `TRIES` times as many levels of each
            split of boards.
    """
    found: list[Place] = []
    seen: set[str] = set()
    for of in DRAWN_FROM[split]:
        listed = list_tasks("leafe/Sokoban-v0", split=of, **arguments)[: TRIES * count]
        for seed, board in boards(split, arguments, range(len(listed)), of):
            key = layout(board)
            if not (distinct and key in seen):
                seen.add(key)
                found.append((of, seed))
            if len(found) == count:
                return found
    raise UsageError(f"the split {split!r} has {len(found)} such levels, {count} were asked for")


def read_levels(
    places: Sequence[Place], arguments: Mapping[str, Json]
) -> tuple[list[Task], list[Board]]:
    """The tasks and boards of levels.

    Args:
        places: of the levels.
        arguments: of `leafe/Sokoban-v0`.
    """
    tasks: list[Task] = []
    found: list[Board] = []
    for of, seed in places:
        task = list_tasks("leafe/Sokoban-v0", split=of, **arguments)[seed]
        assert task.seed == seed
        env = gym.make("leafe/Sokoban-v0", disable_env_checker=True, split=of, **arguments)
        env.reset(seed=seed)
        tasks.append(task)
        found.append(env.unwrapped.board)  # type: ignore[attr-defined]
    return tasks, found
