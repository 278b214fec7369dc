"""Commands that an environment lists, as replies spell them: decorated, in a sentence, several."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_MARKUP = ("```", "``", "`", "**", "*")
"""Markdown around a command, longer marks first."""
_QUOTES = (
    *(('"', '"'), ("'", "'"), ("\u201c", "\u201d"), ("\u2018", "\u2019"), ("\u00ab", "\u00bb")),
)
WRAPPED = (
    *_QUOTES,
    *(("<", ">"), ("[", "]"), ("(", ")"), ("{", "}"), ("__", "__"), ("_", "_")),
    *(("\\boxed{", "}"), ("$", "$"), ("\\text{", "}")),
)
"""What may stand around an admissible command."""
_ENDS = ".!,;"
"""What may stand behind one."""
_BULLET = re.compile(r"(?:[-*>\u2022]|\d{1,3}[.)])\s+")
_BETWEEN = re.compile(r"\s*(?:[,;/|]|->|\u2192|\b(?:or|and|then)\b)\s*", re.IGNORECASE)
"""What stands between commands of a list in one line."""
_BEHIND = re.compile(r"\s+[-\u2013\u2014(\[#]|[,;:.!]\s|\s(?:because|since|so)\s", re.IGNORECASE)
"""What stands between a command and a remark about it."""
_MARKED = re.compile(r"(?P<mark>[`*]+|[\"'])(?P<inner>[^`*\"']+)(?P=mark)\s")
_MOST_PLACES = 8
"""Most places at which a remark may begin."""
_LONGEST_REMARK = 1000
"""Longest line that is searched for commands, in characters."""
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff"))


class Commands:
    """The admissible commands of a state.

    Args:
        admissible: the commands as the environment spells them; none where it lists none, or
            allows others.
    """

    def __init__(self, admissible: Sequence[str]) -> None:
        self._known = {plain(command): command for command in reversed(admissible)}
        self._sentences = any(command.endswith(".") for command in self._known)

    def __bool__(self) -> bool:
        return bool(self._known)

    def __contains__(self, text: str) -> bool:
        return plain(text) in self._known

    def spell(self, text: str) -> str:
        """`text` without Markdown, as the environment spells it if it is admissible."""
        text = without_markup(text.strip())
        for one in (text, *_unwrapped(text)) if self._known else ():
            if (bare := plain(one)) in self._known:
                return self._known[bare]
        if not self._known:
            return _without_quotes(text)
        if not self._sentences:
            text = text.removesuffix(".").strip() or text  # the world's commands are no sentences
        return text

    def behind_label(self, text: str) -> list[str]:
        """What a text that stands behind a label names: one action, or several commands."""
        text = text.strip()
        action = self.spell(text)
        if not self._known or action in self:
            return [action]
        bare = _BULLET.sub("", text, count=1) if _BULLET.match(text) else text
        if (unmarked := self.spell(bare)) in self:
            return [unmarked]
        if len(bare) <= _LONGEST_REMARK:
            parts = [self.spell(part) for part in _BETWEEN.split(bare) if part.strip(" .")]
            if len(parts) > 1 and all(part in self for part in parts):
                return parts
            if remarked := self._before_a_remark(bare):
                return [remarked]
        return [action]

    def is_command(self, line: str) -> bool:
        """Whether a line is a command and nothing else; it may be an item of a list."""
        return self.spell(line) in self or self.spell(_BULLET.sub("", line, count=1)) in self

    def _before_a_remark(self, text: str) -> str:
        """The command at the beginning of a line; "" where the rest names another one, too."""
        places = [(one.start(), one.end()) for one in _BEHIND.finditer(text)][:_MOST_PLACES]
        if marked := _MARKED.match(text):
            places.insert(0, (marked.end(), marked.end()))
        for end, rest in places:
            if (command := self.spell(text[:end])) in self:
                remark = f" {_words(text[rest:])} "
                others = (_words(one) for one in self._known if one != plain(command))
                return "" if any(f" {one} " in remark for one in others if one) else command
        return ""


def plain(text: str) -> str:
    """A text without invisible characters, upper case and more than single spaces."""
    return " ".join(text.translate(_INVISIBLE).casefold().split())


def inside(text: str, opening: str, closing: str) -> str:
    """What stands between two marks; "" where they are not around all of the text."""
    around = text.startswith(opening) and text.endswith(closing)
    return text[len(opening) : -len(closing)].strip() if around else ""


def without_markup(text: str) -> str:
    """A text without the Markdown that is around all of it, a full stop behind that included."""
    for _ in range(len(_MARKUP)):
        for mark in _MARKUP:
            if (inner := inside(text.removesuffix("."), mark, mark)) and mark not in inner:
                text = inner
                break
        else:
            return text
    return text


def _without_quotes(text: str) -> str:
    """A text without the one pair of quotes that is around all of it, and a full stop behind."""
    for opening, closing in _QUOTES:
        inner = inside(text.removesuffix("."), opening, closing)
        if inner and opening not in inner and closing not in inner:
            return inner
    return text


def _unwrapped(text: str) -> Iterator[str]:
    """A text without its final marks, and without what is around it, from outside to inside."""
    for _ in range(4):
        text = without_markup(text.rstrip(_ENDS).strip())
        yield text
        for opening, closing in WRAPPED:
            if inner := inside(text, opening, closing):
                text = without_markup(inner)
                yield text
                break
        else:
            return


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))
