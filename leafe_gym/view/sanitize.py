"""Strangers' text made harmless.

Text of models and environments may hold escape sequences that move the cursor, set the clipboard
or fake a prompt, and marks that turn the direction of reading; `safe` lets letters through and
nothing else. It does not escape HTML: that is done where HTML is written.
"""

from __future__ import annotations

import unicodedata

_FORBIDDEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


def safe(text: str) -> str:
    r"""`text` without control, format and surrogate characters; newlines stay, tabs are expanded.

    Example:
        >>> safe("a\x1b[2Jb\u202ec\td")
        'a[2Jbc    d'
    """
    kept = (c for c in text.expandtabs(4) if c == "\n" or unicodedata.category(c) not in _FORBIDDEN)
    return "".join(kept)
