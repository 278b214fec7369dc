"""Random levels, solvable by construction because they are generated backwards.

A room gets inner walls, targets and a box on each target; then the player pulls boxes away from
their targets at random. The reversed sequence is a solution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leafe_gym.envs.sokoban.bitboard import flood, indices, shift, spread
from leafe_gym.envs.sokoban.rules import BOX, FLOOR, PLAYER, PLAYER_ON, TARGET, Board
from leafe_gym.envs.sokoban.solver import distance
from leafe_gym.envs.sokoban.symmetry import split_of
from leafe_gym.errors import UsageError

_TRIES = 5000  # candidates; the rarest split takes 10 % of them
_DRAWS = 128  # uniform numbers drawn at a time; single draws cost ten times as much


@dataclass(frozen=True, slots=True)
class Shape:
    """Parameters of generated levels.

    Attributes:
        rows: height with the outer walls, 3 to 50.
        cols: width with the outer walls, 3 to 50.
        boxes: boxes, and targets; >= 1.
        inner_walls: minimum and maximum number of inner walls; floor that they cut off is filled.
        pulls: pulls away from the targets, >= 1; more pulls give longer solutions.
        solution: minimum and maximum length of a shortest solution, or None for any length.
    """

    rows: int
    cols: int
    boxes: int
    inner_walls: tuple[int, int]
    pulls: int
    solution: tuple[int, int] | None = None


def generate(shape: Shape, rng: np.random.Generator, split: str | None = None) -> Board:
    """Generate a level. With `split`, levels of other splits are drawn and discarded.

    Raises:
        UsageError: if no level was found, for example in a room too small for its boxes.
    """
    draw = _Draw(shape, _Dice(rng))
    for _ in range(_TRIES):
        board = draw.board()
        if board is None or (split is not None and split_of(board) != split):
            continue
        if shape.solution is None or _within(board, shape.solution):
            return board
    wanted = f" of split {split!r}" if split else ""
    raise UsageError(
        f"no level{wanted} found with size=({shape.rows}, {shape.cols}), boxes={shape.boxes}, "
        f"inner_walls={shape.inner_walls}, solution={shape.solution}: use a larger size, fewer "
        "boxes, fewer inner walls or solutions of other lengths"
    )


def _within(board: Board, solution: tuple[int, int]) -> bool:
    low, high = solution
    actions = distance(board)
    return actions is not None and low <= actions <= high


class _Dice:
    """Small random integers, drawn in blocks for speed."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._block: list[float] = []

    def below(self, limit: int) -> int:
        """A number from 0 to `limit` - 1."""
        if not self._block:
            self._block = self._rng.random(_DRAWS).tolist()
        return int(self._block.pop() * limit)

    def cell(self, mask: int) -> int:
        """One of the cells of `mask`, as a mask of its own."""
        for _ in range(self.below(mask.bit_count())):
            mask &= mask - 1
        return mask & -mask


class _Draw:
    """Generates candidates."""

    def __init__(self, shape: Shape, dice: _Dice) -> None:
        self._shape = shape
        self._dice = dice
        self._width = width = shape.cols + 1
        self._steps = (-width, width, -1, 1)
        inside = ((1 << shape.cols - 2) - 1) << 1
        self._inside = sum(inside << row * width for row in range(1, shape.rows - 1))

    def board(self) -> Board | None:
        """A level, or None if this candidate failed."""
        floor = self._room()
        if floor.bit_count() < 2 * self._shape.boxes + 1:
            return None
        targets = self._some(floor, self._shape.boxes)
        played = self._play_back(floor, targets)
        if played is None:
            return None
        boxes, reached = played
        return self._write(floor, targets, boxes, self._dice.cell(reached))

    def _some(self, mask: int, count: int) -> int:
        """`count` different cells of `mask`."""
        chosen = 0
        for _ in range(count):
            chosen |= self._dice.cell(mask & ~chosen)
        return chosen

    def _room(self) -> int:
        low, high = self._shape.inner_walls
        walls = self._some(self._inside, low + self._dice.below(high - low + 1))
        floor = self._inside & ~walls
        return flood(self._dice.cell(floor), floor, self._width) if floor else 0

    def _play_back(self, floor: int, targets: int) -> tuple[int, int] | None:
        """Pull boxes at random; returns the boxes and the cells that the player can reach.

        Makes `pulls` pulls and continues, up to twice as many, until no box is on a target and at
        least one is not next to a target. Stops early when no box can be pulled.
        """
        boxes = targets
        still = dict.fromkeys(self._steps, 0)
        back = still  # direction -> player's cell of the pull that would undo the previous one
        player = self._dice.cell(floor & ~boxes)
        beside = targets | spread(targets, self._width)

        def good(boxes: int) -> bool:
            return not boxes & targets and bool(boxes & ~beside)

        for pulls in range(1, 2 * self._shape.pulls + 1):
            free = floor & ~boxes
            reached = flood(player, free, self._width)
            options = [
                (offset, at)
                for offset in self._steps
                if (at := reached & shift(boxes, offset) & shift(free, -offset) & ~back[offset])
            ]
            if not options:
                break
            offset, at = options[self._dice.below(len(options))]
            pulled_to = self._dice.cell(at)
            box = shift(pulled_to, -offset)
            boxes ^= box | pulled_to
            player = shift(pulled_to, offset)
            back = {**still, -offset: box}
            if pulls >= self._shape.pulls and good(boxes):
                break
        return (boxes, flood(player, floor & ~boxes, self._width)) if good(boxes) else None

    def _write(self, floor: int, targets: int, boxes: int, player: int) -> Board:
        rows, width = self._shape.rows, self._width
        cells = bytearray((b"#" * (width - 1) + b"\n") * rows)
        cells.pop()
        for mask, symbol in ((floor, FLOOR), (targets, TARGET), (boxes, BOX)):
            for index in indices(mask):
                cells[index] = symbol
        here = player.bit_length() - 1
        cells[here] = PLAYER_ON if player & targets else PLAYER
        return Board(bytes(cells), width, here)
