"""All reachable positions of small levels, as arrays.

A room of 4x4 cells with one box has at most 240 positions, so every function of a position can be
computed for all of them: distances to a win, the probability that a policy wins, batches of
episodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leafe_gym.envs.sokoban.rules import ACTIONS, Board, move, offsets
from leafe_gym.errors import UsageError

NEVER = 10_000
"""Distance of an unsolvable position."""
MOST_STATES = 5_000_000
"""Limit for the positions of all levels; an array of this length takes 20 to 40 MB."""


@dataclass(frozen=True, slots=True)
class StateGraph:
    """The positions of several levels, numbered level by level.

    Attributes:
        boards: observation of each position; [states].
        starts: initial position of each level; [levels].
        level: level of each position; [states].
        next: position after an action, the same one if the move is blocked; [states, 4] in the
            order of `rules.ACTIONS`.
        pushes: whether the action moves a box; [states, 4].
        won: whether all boxes are on targets; [states].
        distance: length of a shortest solution, `NEVER` if there is none; [states].
    """

    boards: Sequence[str]
    starts: NDArray[np.int64]
    level: NDArray[np.int64]
    next: NDArray[np.int64]
    pushes: NDArray[np.bool_]
    won: NDArray[np.bool_]
    distance: NDArray[np.int64]

    @classmethod
    def of(cls, levels: Iterable[Board]) -> StateGraph:
        """The positions reachable from each of `levels`.

        Raises:
            UsageError: if there are more than `MOST_STATES`.
        """
        boards: list[Board] = []
        starts: list[int] = []
        level: list[int] = []
        after: list[list[int]] = []
        pushes: list[list[bool]] = []
        for number, start in enumerate(levels):
            starts.append(len(boards))
            _explore(start, boards, after, pushes)
            level += [number] * (len(boards) - len(level))
        won = np.array([board.won for board in boards], dtype=np.bool_)
        forward = np.array(after, dtype=np.int64).reshape(-1, len(ACTIONS))
        return cls(
            boards=[board.text for board in boards],
            starts=np.array(starts, dtype=np.int64),
            level=np.array(level, dtype=np.int64),
            next=forward,
            pushes=np.array(pushes, dtype=np.bool_).reshape(-1, len(ACTIONS)),
            won=won,
            distance=_distances(forward, won),
        )

    @property
    def optimal(self) -> NDArray[np.bool_]:
        """Whether an action reduces the distance to a win; [states, 4]."""
        nearer: NDArray[np.bool_] = self.distance[self.next] < self.distance[:, None]
        return nearer

    def blind_needed(self, blind: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Minimum number of blind actions over all shortest solutions; [states].

        Args:
            blind: which actions count; [states, 4].
        """
        needed = np.where(self.won, 0, NEVER)
        for _ in range(int(self.distance[self.distance < NEVER].max(initial=0))):
            options = np.where(self.optimal, needed[self.next] + blind, NEVER)
            needed = np.where(self.won, 0, options.min(axis=1))
        return needed


def _explore(
    start: Board, boards: list[Board], after: list[list[int]], pushes: list[list[bool]]
) -> None:
    """Append all positions reachable from `start`, starting with `start`."""
    steps = [offsets(start.width)[action] for action in ACTIONS]
    numbers = {start.cells: len(boards)}
    done = len(boards)
    boards.append(start)
    while done < len(boards):
        board = boards[done]
        done += 1
        row, pushed = [], []
        for step in steps:
            there = board if board.won else move(board, step)
            number = numbers.setdefault(there.cells, len(boards))
            if number == len(boards):
                boards.append(there)
            row.append(number)
            pushed.append(there is not board and chr(board.cells[board.player + step]) in "$*")
        after.append(row)
        pushes.append(pushed)
        if len(boards) > MOST_STATES:
            raise UsageError(
                f"these levels have more than {MOST_STATES:,} positions: use smaller boards, fewer "
                "boxes or fewer levels"
            )


def _distances(after: NDArray[np.int64], won: NDArray[np.bool_]) -> NDArray[np.int64]:
    distance = np.where(won, 0, NEVER)
    while True:
        closer = np.minimum(distance, distance[after].min(axis=1, initial=NEVER) + 1)
        if (closer == distance).all():
            return distance
        distance = closer
