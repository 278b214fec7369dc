"""Words of a text, also where the script puts no spaces between them."""

from __future__ import annotations

import re

SPACELESS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Japanese syllables and Chinese characters, as a class of a regular expression."""
_WORD = re.compile(rf"[{SPACELESS}]|[^\W{SPACELESS}]+")
_CHARACTER = re.compile(f"[{SPACELESS}]")


def words(text: str) -> list[str]:
    """The words of a text (letters, digits, underscores), case-folded.

    In Chinese and Japanese each character is one.

    Example:
        >>> words("Turn LEFT, then 向左走2步")
        ['turn', 'left', 'then', '向', '左', '走', '2', '步']
    """
    return _WORD.findall(text.casefold())


def is_character(word: str) -> bool:
    """Whether a word is one character of a script without spaces."""
    return _CHARACTER.fullmatch(word) is not None
