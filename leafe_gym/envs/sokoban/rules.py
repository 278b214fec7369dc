"""The board and its moves.

Rules and rewards are those of gym-sokoban (Schrader, https://github.com/mpSchrader/gym-sokoban):
-0.1 for every step, +1 for a box pushed onto a target, -1 for one pushed off, +10 when all boxes
are on targets. A move pushes the box in front of the player if the cell behind it is free.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

WALL, FLOOR, TARGET, BOX, BOX_ON, PLAYER, PLAYER_ON = b"#-.$*@+"
"""Codes of the symbols; `_ON` means on a target."""

ACTIONS = ("up", "down", "left", "right")

STEP_REWARD = -0.1
BOX_REWARD = 1.0
WIN_REWARD = 10.0

_ENTER = {FLOOR: PLAYER, TARGET: PLAYER_ON, BOX: PLAYER, BOX_ON: PLAYER_ON}
_LEAVE = {PLAYER: FLOOR, PLAYER_ON: TARGET}
_FILL = {FLOOR: BOX, TARGET: BOX_ON}


class Board(NamedTuple):
    """One position; immutable.

    Attributes:
        cells: the rows joined by newlines, in ASCII; also the observation.
        width: length of a row with its newline, so that index = row * width + column.
        player: index of the player in `cells`.
    """

    cells: bytes
    width: int
    player: int

    @classmethod
    def of(cls, cells: bytes) -> Board:
        """The board with these cells, which must come from a valid board."""
        player = cells.find(PLAYER)
        if player < 0:
            player = cells.index(PLAYER_ON)
        return cls(cells, cells.index(b"\n") + 1, player)

    @property
    def text(self) -> str:
        """The rows joined by newlines."""
        return self.cells.decode("ascii")

    @property
    def placed(self) -> int:
        """Number of boxes on targets."""
        return self.cells.count(BOX_ON)

    @property
    def boxes(self) -> int:
        """Number of boxes."""
        return self.cells.count(BOX) + self.cells.count(BOX_ON)

    @property
    def won(self) -> bool:
        """Whether every box is on a target."""
        return BOX not in self.cells

    def offset(self, action: str) -> int:
        """Offset of an action in `cells`."""
        return offsets(self.width)[action]


@cache
def offsets(width: int) -> Mapping[str, int]:
    """Action -> offset in the text of a board whose rows, newline included, have `width`."""
    return {"up": -width, "down": width, "left": -1, "right": 1}


def move(board: Board, offset: int) -> Board:
    """The board after a move by `offset` cells; `board` itself if the move is blocked."""
    cells, width, here = board
    there = here + offset
    entered = cells[there]
    if entered == WALL:
        return board
    changed = bytearray(cells)
    if entered in (BOX, BOX_ON):
        filled = _FILL.get(cells[there + offset])
        if filled is None:
            return board
        changed[there + offset] = filled
    changed[here] = _LEAVE[cells[here]]
    changed[there] = _ENTER[entered]
    return Board(bytes(changed), width, there)


def reward_of(before: Board, after: Board) -> float:
    """The reward of the step from `before` to `after`, a multiple of 0.1."""
    if before is after:
        return STEP_REWARD
    reward = STEP_REWARD + BOX_REWARD * (after.placed - before.placed)
    if after.won:
        reward += WIN_REWARD
    return round(reward, 1)
