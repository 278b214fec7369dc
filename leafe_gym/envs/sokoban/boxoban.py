"""Level files in the format of Boxoban (https://github.com/google-deepmind/boxoban-levels).

A line that starts with `;` starts a level; the lines after it up to a blank line are its rows:
`#` wall, `@` player, `$` box, `.` target, space floor, `*` box on a target, `+` player on a target.
Rows may differ in length; missing cells at the right count as wall.
"""

from __future__ import annotations

import os
from functools import cached_property, lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from leafe_gym.envs.sokoban.parse import LevelFault, parse_rows
from leafe_gym.envs.sokoban.rules import Board
from leafe_gym.envs.sokoban.symmetry import split_of
from leafe_gym.errors import BadLevel


class _Block(NamedTuple):
    header: str
    line: int  # of the header, counted from 1
    rows: dict[int, str]  # line -> row


class LevelFile:
    """The levels of one file, in file order.

    Attributes:
        name: file name without the folder.
        digest: hash of the content, 8 hex digits.
        boards: the levels, indexed from 0.
    """

    def __init__(self, path: Path, text: str) -> None:
        self.name = path.name
        self.digest = blake2b(text.encode("utf-8"), digest_size=4).hexdigest()
        self.boards = tuple(
            _board(path, number, block) for number, block in enumerate(_blocks(path, text))
        )
        if not self.boards:
            raise BadLevel(f"{path}: has no level; a level starts with a line ';'")

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """The split of each level."""
        return tuple(split_of(board) for board in self.boards)

    def indices(self, split: str | None) -> list[int]:
        """Indices of the levels in a split; all for None."""
        if split is None:
            return list(range(len(self.boards)))
        return [number for number, found in enumerate(self.splits) if found == split]


def read_levels(path: str | os.PathLike[str]) -> LevelFile:
    """The levels of a file; cached until the file changes.

    Raises:
        BadLevel: if the file cannot be read or a level is malformed; names the file, the level,
            the line and the fault.
    """
    try:
        status = os.stat(path)
        return _read(os.fspath(path), status.st_mtime_ns, status.st_size)
    except OSError as error:
        raise BadLevel(f"{path}: cannot be read as a level file: {error.strerror}") from error


@lru_cache(maxsize=16)
def _read(path: str, mtime_ns: int, size: int) -> LevelFile:
    data = Path(path).read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadLevel(f"{path}: line {line}: not UTF-8; save the file as UTF-8 text") from error
    return LevelFile(Path(path), text)


def _blocks(path: Path, text: str) -> list[_Block]:
    """Split a file into levels."""
    blocks: list[_Block] = []
    open_block = False
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.rstrip("\r")
        if line.startswith(";"):
            blocks.append(_Block(line, number, {}))
            open_block = True
        elif not line.strip(" "):
            # A blank line after rows ends a level; one right after the header does not.
            open_block = open_block and not blocks[-1].rows
        elif open_block:
            blocks[-1].rows[number] = line
        else:
            raise BadLevel(
                f"{path}: line {number}: a row outside a level; start the level with a line ';'"
            )
    return blocks


def _board(path: Path, number: int, block: _Block) -> Board:
    place = f"{path}: level {number} ({block.header[:40]!r})"
    if not block.rows:
        raise BadLevel(f"{place}, line {block.line}: the level has no rows")
    try:
        return parse_rows(list(block.rows.values()))
    except LevelFault as fault:
        line = block.line if fault.row is None else list(block.rows)[fault.row]
        raise BadLevel(f"{place}, line {line}: {fault.reason}") from fault
