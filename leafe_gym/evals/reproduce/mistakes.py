"""Mistakes of an episode, judged by the solver: actions that are on no shortest solution."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from leafe_gym.envs.sokoban.parse import parse_board
from leafe_gym.envs.sokoban.rules import Board
from leafe_gym.envs.sokoban.solver import distance
from leafe_gym.types import Step


def mistakes(distances: Sequence[int | None]) -> list[int]:
    """Indices of the actions after which the shortest solution is not one action shorter.

    Args:
        distances: length of the shortest solution before each action and after the last one;
            None where there is none. Actions taken from there are not counted.
    """
    return [
        action
        for action, (before, after) in enumerate(pairwise(distances))
        if before is not None and (after is None or after >= before)
    ]


def episode_distances(first: str, steps: Iterable[Step]) -> list[int | None]:
    """The distances of an episode's boards: the first one, and that after each action."""
    boards = [first, *(step.observation for step in steps if step.action is not None)]
    return [distance(parse_board(board)) for board in boards]


def room_board(rows: Sequence[str]) -> Board:
    """The board of a room that is given without the walls around it."""
    wall = "#" * (len(rows[0]) + 2)
    return Board.of("\n".join([wall, *(f"#{row}#" for row in rows), wall]).encode("ascii"))
