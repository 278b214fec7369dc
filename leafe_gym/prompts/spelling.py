"""Commands that an environment lists, as replies spell them: decorated, in a sentence, several."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property

from leafe_gym.errors import BadReply

_MARKUP = ("```", "``", "`", "**", "*")
"""Markdown around a command, longer marks first."""
_QUOTES = (('"', '"'), ("'", "'"), ("\u201c", "\u201d"), ("\u2018", "\u2019"), ("\u00ab", "\u00bb"))
WRAPPED = (
    *_QUOTES,
    *(("<", ">"), ("[", "]"), ("(", ")"), ("{", "}"), ("__", "__"), ("_", "_")),
    *(("\\boxed{", "}"), ("$", "$"), ("\\text{", "}")),
)
"""What may stand around an admissible command."""
_ENDS = ".!,;"
"""What may stand behind one."""
_BULLET = re.compile(r"\A(?:[-*>\u2022]|\d[.)])\s+(?=[^\W\d])")
_BETWEEN = re.compile(r" ?(?:[,;/|]|->|\u2192|\b(?:or|and|then)\b) ?", re.IGNORECASE)
"""What stands between commands of a list in one line."""
_REMARK = re.compile(r" [-\u2013\u2014(]|,? (?=(?:because|since)\b)", re.IGNORECASE)
"""What stands between a command and a remark about it."""
_MARKED = re.compile(r"(?P<mark>[`*]+)[^`*]+(?P=mark) ")
_NO_REMARK = re.compile(
    r"\b(?:then|and|or|except|no|not|never|but|actually|wait|instead|rather|times|twice|again|repeat\w*"
    r"|wrong|fail\w*|block\w*|x?\d+)\b|n['\u2019]t\b",
    re.IGNORECASE,
)
"""What makes a remark more than that: another action, a number of times, a denial."""
_LEAST_REMARK = 3
"""Fewest words of a remark; fewer may be a part of the command."""
_LONGEST_LINE = 1000
"""Longest line behind a label that is searched for commands, in characters."""
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff"))


class Commands:
    """The admissible commands of a state.

    Args:
        admissible: the commands as the environment spells them; none where it lists none, or
            allows others.
    """

    def __init__(self, admissible: Sequence[str]) -> None:
        known = ((plain(command), command) for command in reversed(admissible))
        self._known = {bare: command for bare, command in known if bare}
        self._sentences = any(command.endswith(".") for command in self._known)

    def __contains__(self, text: str) -> bool:
        return plain(text) in self._known

    def spell(self, text: str) -> str:
        """`text` without Markdown, as the environment spells it if it is admissible."""
        text = without_markup(text.strip())
        for one in (text, *_unwrapped(text)) if self._known else ():
            if (bare := plain(one)) in self._known:
                return self._known[bare]
        if not self._known:
            return without_quotes(text)
        if not self._sentences:
            text = text.removesuffix(".").strip() or text  # the world's commands are no sentences
        return text

    def behind_label(self, text: str) -> str:
        """The action that a text behind a label names, a remark behind it left out.

        Raises:
            BadReply: if it is a list of commands.
        """
        action = self.spell(text)
        if not self._known or action in self or len(text) > _LONGEST_LINE:
            return action
        line = _BULLET.sub("", " ".join(text.split()), count=1)
        if (unmarked := self.spell(line)) in self:
            return unmarked
        parts = [self.spell(part) for part in _BETWEEN.split(line) if part.strip(" .")]
        if len(parts) > 1 and all(part in self for part in parts):
            raise BadReply("it names several actions")
        return self._before_a_remark(line) or action

    def mentioned(self, text: str, besides: str = "") -> bool:
        """Whether a text has a command `besides` another one among its words."""
        words, left_out = f" {_words(text)} ", _words(besides)
        return any(f" {one} " in words for one in self._by_words if one != left_out)

    def is_command(self, line: str) -> bool:
        """Whether a line is a command and nothing else; it may be an item of a list."""
        return self.spell(line) in self or self.spell(_BULLET.sub("", line, count=1)) in self

    @cached_property
    def _by_words(self) -> frozenset[str]:
        return frozenset(map(_words, self._known)) - {""}

    def _before_a_remark(self, text: str) -> str:
        """The command at the beginning of a line; "" where the rest may be more than a remark."""
        between = _MARKED.match(text) or _REMARK.search(text)
        if between is None:
            return ""
        command = self.spell(text[: between.end()].rstrip(" (-\u2013\u2014,"))
        remark = text[between.end() :]
        if command not in self or len(remark.split()) < _LEAST_REMARK or _NO_REMARK.search(remark):
            return ""
        begin = f"{_words(command)} "
        longer = any(one.startswith(begin) for one in self._by_words)
        return "" if longer or self.mentioned(remark, besides=command) else command


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


def alone_inside(text: str, pairs: Sequence[tuple[str, str]]) -> str:
    """What one of the pairs of marks is around, if it has no such mark itself; else ""."""
    for opening, closing in pairs:
        inner = inside(text.removesuffix("."), opening, closing)
        if inner and opening not in inner and closing not in inner:
            return inner
    return ""


def without_quotes(text: str) -> str:
    """A text without the one pair of quotes that is around all of it, and a full stop behind."""
    return alone_inside(text, _QUOTES) or text


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
