"""Removing control characters from untrusted text.

Text of models and environments may contain escape sequences that move the cursor, set the clipboard
or imitate a prompt, and characters that change the reading direction. `safe` removes them. It does
not escape HTML; the code that writes HTML does.
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
