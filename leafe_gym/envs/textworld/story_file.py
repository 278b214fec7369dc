"""Checks that a file is a complete Z-machine story, because the interpreter does not."""

from __future__ import annotations

import re
from pathlib import Path

from leafe_gym.errors import UsageError

_NAME = re.compile(r"\.z[1-8]", re.IGNORECASE)
_HEADER = 64
_LENGTH_AT, _CHECKSUM_AT = 0x1A, 0x1C
_UNIT = {1: 2, 2: 2, 3: 2, 4: 4, 5: 4, 6: 8, 7: 8, 8: 8}
"""Version -> unit of the header's file length in bytes (Z-Machine Standard, 11.1.6)."""


def check_story(path: Path) -> str:
    """The path as a string.

    The version in the name may be another one than the file's: `zork1.z5` of Jericho's game suite
    is a story of version 3.

    Raises:
        UsageError: if there is no such file, it is not a complete story, or its content does not
            have its checksum; the interpreter may hang or crash with it.
    """
    if not _NAME.fullmatch(path.suffix):
        raise UsageError(f"{path}: story files of the Z-machine end in .z1 to .z8")
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file; give the path of a story file")
    content = path.read_bytes()
    if len(content) < _HEADER or content[0] not in _UNIT:
        raise UsageError(
            f"{path}: is not a story of the Z-machine (its first byte is not a version, 1 to 8); "
            "get the file again"
        )
    length = _word(content, _LENGTH_AT) * _UNIT[content[0]]
    if len(content) < length:
        raise UsageError(
            f"{path}: is truncated, {len(content)} of {length} bytes; get the file again"
        )
    checksum = _word(content, _CHECKSUM_AT)  # 0 in files older than the field
    if length and checksum and sum(content[_HEADER:length]) % 2**16 != checksum:
        raise UsageError(f"{path}: is damaged, its checksum is another one; get the file again")
    return str(path)


def _word(content: bytes, at: int) -> int:
    return int.from_bytes(content[at : at + 2], "big")
