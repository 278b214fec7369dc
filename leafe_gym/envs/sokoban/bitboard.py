"""Sets of cells as integers (bitboards): bit i is the cell at index i of a board's text.

The newline at the end of each row counts as a cell that is never free, so every move is the same
shift and cannot wrap into the next row.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache


@cache
def _table(symbols: bytes) -> bytes:
    return bytes(ord("1") if code in symbols else ord("0") for code in range(256))


def mask_of(cells: bytes, symbols: bytes) -> int:
    """The cells of a board that hold one of `symbols`."""
    return int(cells.translate(_table(symbols))[::-1], 2)


def shift(mask: int, offset: int) -> int:
    """`mask` shifted by `offset` cells; the offset may be negative."""
    return mask << offset if offset >= 0 else mask >> -offset


def spread(mask: int, width: int) -> int:
    """The neighbours of the cells of `mask`; `width` is the row length with its newline."""
    return mask << 1 | mask >> 1 | mask << width | mask >> width


def flood(start: int, free: int, width: int) -> int:
    """The cells of `free` reachable from `start`, and `start` itself."""
    reached = start
    while True:
        grown = (reached | spread(reached, width)) & free | start
        if grown == reached:
            return reached
        reached = grown


def indices(mask: int) -> Iterator[int]:
    """Indices of the cells of `mask`, in ascending order."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
