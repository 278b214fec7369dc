"""The texts of one tree or section, each held once, boards found among them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from leafe_gym.types import Json
from leafe_gym.view.sanitize import safe

LONGEST = 4_000
"""Longest text on a page, in characters; the rest is counted and left out."""

_ROW = re.compile(r"[#\-.$*@+]{3,}")


@dataclass(slots=True)
class Texts:
    """A table of texts: cleaned, cut, each at one place however often it occurs."""

    entries: list[Json] = field(default_factory=list)
    _places: dict[str, int] = field(default_factory=dict)

    def place(self, text: str) -> int:
        """Where `text` stands in `entries`."""
        if text not in self._places:
            self._places[text] = len(self.entries)
            self.entries.append(as_entry(text))
        return self._places[text]


def as_entry(text: str) -> Json:
    """The text as a page holds it: a string, or [before, rows, after] around a Sokoban board."""
    text = shorten(safe(text))
    lines = text.split("\n")
    found = find_board(lines)
    if found is None:
        return text
    top, bottom = found
    before, after = "\n".join(lines[:top]), "\n".join(lines[bottom:])
    return [before.strip("\n"), lines[top:bottom], after.strip("\n")]


def shorten(text: str) -> str:
    """At most `LONGEST` characters of a text, and how many are missing."""
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]}\n[{len(text) - LONGEST:,} more characters]"


def find_board(lines: list[str]) -> tuple[int, int] | None:
    """First line and end of the last block of lines that reads as a Sokoban board, or None.

    A board is at least three rows of one width in Sokoban's letters, with walls, one player and
    at least one box or target.
    """
    end = len(lines)
    while end > 0:
        start = end
        while start > 0 and _ROW.fullmatch(lines[start - 1]):
            if start < end and len(lines[start - 1]) != len(lines[start]):
                break
            start -= 1
        cells = "".join(lines[start:end])
        one_player = cells.count("@") + cells.count("+") == 1
        if end - start >= 3 and one_player and "#" in cells and set(cells) & set("$*.+"):
            return start, end
        end = start if start < end else end - 1
    return None
