"""A player's words on their way to a story: one line, and nothing for the interpreter itself."""

from __future__ import annotations

import re

_LONGEST = 198
"""Bytes of the interpreter's input line."""

_META = frozenset(
    [
        "save",
        "restore",
        "restart",
        "quit",
        "q",
        "undo",
        "oops",
        "again",
        "g",
        "script",
        "transcript",
        "unscript",
        "noscript",
        "record",
        "unrecord",
        "replay",
        "verify",
        "version",
        "random",
        "actions",
        "scope",
        "tree",
        "showobj",
        "xabstract",
        "xpurloin",
        "goto",
        "gonear",
        "trace",
        "rules",
        "relations",
        "responses",
        "showme",
        "test",
        "showverb",
        "debug",
    ]
)
"""Words for the interpreter, some of which write files or undo what only it remembers."""

_PARTS = re.compile(r"[.;,\n]|\bthen\b|\band\b")
OUTSIDE = "That is no command of the story."


def one_line(action: str) -> str:
    """The action as the interpreter takes it: one line of printable ASCII, at most 198 characters.

    A NUL in it would end the line before its end, and with it the process.
    """
    printable = "".join(one if " " <= one <= "~" else "?" if one > "~" else " " for one in action)
    return " ".join(printable.split())[:_LONGEST]


def outside(command: str) -> bool:
    """Whether a command says nothing, or a part of it is for the interpreter."""
    firsts = [part.split()[0] for part in _PARTS.split(command.lower()) if part.split()]
    return not firsts or any(word in _META or word.startswith("tw-") for word in firsts)
