"""Commands for a story: one line, without commands for the interpreter itself."""

from __future__ import annotations

import re

_LONGEST = 198
"""Size of the interpreter's input line in bytes."""

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
"""Commands for the interpreter; some write files or use memory that no snapshot contains."""

_PARTS = re.compile(r"[.;,\n]|\bthen\b|\band\b")
OUTSIDE = "That is not a command of the story."


def one_line(action: str) -> str:
    """The action as one line of printable ASCII, at most 198 characters.

    A NUL would end the interpreter's process.
    """
    printable = "".join(one if " " <= one <= "~" else "?" if one > "~" else " " for one in action)
    return " ".join(printable.split())[:_LONGEST]


def outside(command: str) -> bool:
    r"""Whether a command is empty, or a part of it is for the interpreter.

    A backslash is the interpreter's escape character: a command such as `\help` never returns, and
    `\R` writes a file.
    """
    if "\\" in command:
        return True
    firsts = [part.split()[0] for part in _PARTS.split(command.lower()) if part.split()]
    return not firsts or any(word in _META or word.startswith("tw-") for word in firsts)


def outside_keys(command: str) -> bool:
    """As `outside`, where the story reads single keys: `q` is then a key, not a command."""
    return outside(command) and (len(command) != 1 or command == "\\")
