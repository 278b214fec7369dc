"""Reading a board from its rows, with checks."""

from __future__ import annotations

from collections.abc import Sequence

from leafe_gym.envs.sokoban.bitboard import flood, indices, mask_of
from leafe_gym.envs.sokoban.rules import Board
from leafe_gym.errors import BadLevel

SYMBOLS = "#-.$*@+ "
"""Symbols allowed in rows; a space is floor."""

_OPEN = "not enclosed: the player can walk out; close it with '#'"


class LevelFault(BadLevel):
    """Raised when rows are not a playable board.

    Attributes:
        reason: the fault, without its position.
        row: index of the faulty row, from 0; None if the whole board is faulty.
    """

    def __init__(self, reason: str, row: int | None = None) -> None:
        super().__init__(reason if row is None else f"row {row + 1}: {reason}")
        self.reason = reason
        self.row = row


def parse_board(text: str) -> Board:
    r"""The board written in `text`, rows separated by newlines.

    Example:
        >>> parse_board("#####\n#@$.#\n#####").text
        '#####\n#@$.#\n#####'

    Raises:
        LevelFault: if it is not a playable board; see `parse_rows`.
    """
    if not isinstance(text, str):
        raise LevelFault(f"{text!r} is not a board; give its rows as one string")
    return parse_rows(text.strip("\n").split("\n"))


def parse_rows(rows: Sequence[str]) -> Board:
    """The board with these rows; shorter rows are padded with wall.

    Raises:
        LevelFault: for an unknown symbol, no player or several players, no box, different numbers
            of boxes and targets, a board that is already solved, or walls that do not enclose the
            player.
    """
    _check_symbols(rows)
    _check_counts(rows)
    if len(rows) == 1:
        raise LevelFault(_OPEN, 0)
    longest = max(len(row) for row in rows)
    padded = "\n".join(row.replace(" ", "-").ljust(longest, "#") for row in rows)
    board = Board.of(padded.encode("ascii"))
    _check_enclosed(board, rows)
    return board


def _check_symbols(rows: Sequence[str]) -> None:
    for number, row in enumerate(rows):
        for symbol in row:
            if symbol not in SYMBOLS:
                raise LevelFault(f"unknown symbol {symbol!r}; use {SYMBOLS!r}", number)


def _check_counts(rows: Sequence[str]) -> None:
    players = [number for number, row in enumerate(rows) for symbol in row if symbol in "@+"]
    if not players:
        raise LevelFault("no player; put one '@' (or '+' on a target)")
    if len(players) > 1:
        raise LevelFault(f"{len(players)} players; leave one '@' or '+'", players[1])
    count = "".join(rows).count
    boxes = count("$") + count("*")
    targets = count(".") + count("*") + count("+")
    if not boxes:
        raise LevelFault("no box; put at least one '$'")
    if boxes != targets:
        raise LevelFault(f"{boxes} boxes but {targets} targets; use as many of each")
    if not count("$"):
        raise LevelFault("all boxes are on targets already; move one off")


def _check_enclosed(board: Board, rows: Sequence[str]) -> None:
    """Check that all neighbours of reachable cells exist in the rows as written."""
    inside = flood(1 << board.player, mask_of(board.cells, b"-.$*@+"), board.width)
    for index in indices(inside):
        row, column = divmod(index, board.width)
        on_edge = row in (0, len(rows) - 1) or column in (0, len(rows[row]) - 1)
        if on_edge or column >= min(len(rows[row - 1]), len(rows[row + 1])):
            raise LevelFault(_OPEN, row)
