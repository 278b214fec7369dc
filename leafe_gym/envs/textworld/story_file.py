"""Checks that a file is a complete Z-machine story, because the interpreter does not."""

from __future__ import annotations

import re
from pathlib import Path

from leafe_gym.errors import UsageError

_NAME = re.compile(r"\.z[1-8]", re.IGNORECASE)
_HEADER = 64
_LENGTH_AT = 0x1A
_UNIT = {1: 2, 2: 2, 3: 2, 4: 4, 5: 4, 6: 8, 7: 8, 8: 8}
"""Version -> unit of the header's file length in bytes (Z-Machine Standard, 11.1.6)."""


def check_story(path: Path) -> str:
    """The path as a string.

    The version in the name may be another one than the file's: `zork1.z5` of Jericho's game suite
    is a story of version 3.

    Raises:
        UsageError: if there is no such file, or it is not a complete story.
    """
    if not _NAME.fullmatch(path.suffix):
        raise UsageError(f"{path}: story files of the Z-machine end in .z1 to .z8")
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file; give the path of a story file")
    with path.open("rb") as file:
        head = file.read(_HEADER)
    if len(head) < _HEADER or head[0] not in _UNIT:
        raise UsageError(
            f"{path}: is not a story of the Z-machine (its first byte is not a version, 1 to 8); "
            "get the file again"
        )
    length = int.from_bytes(head[_LENGTH_AT : _LENGTH_AT + 2], "big") * _UNIT[head[0]]
    if path.stat().st_size < length:
        raise UsageError(
            f"{path}: is truncated, {path.stat().st_size} of {length} bytes; get the file again"
        )
    return str(path)
