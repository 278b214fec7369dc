"""Sets of cells as integers: bit i stands for the cell at index i of a board's text.

The newline that ends each row is a cell too, one that is never free, so that a move is the same
shift everywhere and nothing can slip from one row into the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache


@cache
def _table(symbols: bytes) -> bytes:
    return bytes(ord("1") if code in symbols else ord("0") for code in range(256))


def mask_of(cells: bytes, symbols: bytes) -> int:
    """The cells of a board's text that show one of `symbols`."""
    return int(cells.translate(_table(symbols))[::-1], 2)


def shift(mask: int, offset: int) -> int:
    """The cells of `mask`, each moved by `offset` places in the text (either sign)."""
    return mask << offset if offset >= 0 else mask >> -offset


def spread(mask: int, width: int) -> int:
    """The cells next to those of `mask`; `width` is the length of a row with its newline."""
    return mask << 1 | mask >> 1 | mask << width | mask >> width


def flood(start: int, free: int, width: int) -> int:
    """All cells of `free` that can be walked to from the cells `start`, these included."""
    reached = start
    while True:
        grown = (reached | spread(reached, width)) & free | start
        if grown == reached:
            return reached
        reached = grown


def indices(mask: int) -> Iterator[int]:
    """The cells of `mask` as indices, lowest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
