"""Tokens of searches and product names, and colour names."""

from __future__ import annotations

import re
from functools import cache

from leafe_gym._optional import require
from leafe_gym.envs.data_files import packaged_json

EXTRA = ("webshop", "WebShop")
"""The optional dependencies of this environment, as arguments of `require`."""

_WORD = re.compile(r"[^\W_]+(?:[.'’][^\W_]+)*")  # noqa: RUF001 - the apostrophe of typesetters
_LETTERS = re.compile(r"[^\W\d_]{2,}")
_POSSESSIVE = re.compile(r"['’]s\b")  # noqa: RUF001

_LISTS = packaged_json("webshop", "word_lists.json")
_COLORS: list[str] = _LISTS["colors"]
"""WebShop's colour names, in its order: the first one that is part of an option counts."""


def split_words(text: str) -> list[str]:
    """The words of a text in lower case, without possessive endings; may contain duplicates."""
    return _WORD.findall(_POSSESSIVE.sub("", text.lower()))


def search_term(word: str) -> str:
    """The index term of a word: its Porter stem; "" for English stop words.

    For ordinary text, words and terms equal those of Lucene's English analyzer, which WebShop's
    index uses.
    """
    if word in _stop_words("STOPWORDS_EN"):
        return ""
    # A stemmer is not thread-safe, and creating one takes microseconds.
    return str(require("Stemmer", *EXTRA).Stemmer("porter").stemWord(word))


def nouns(name: str) -> list[str]:
    """A replacement for the nouns of a product's name, see `docs/design/2026-11-26-webshop.md`.

    Runs of at least two letters, in lower case, without English stop words.
    """
    stop = _stop_words("STOPWORDS_EN_PLUS")
    return [word for word in _LETTERS.findall(name.lower()) if word not in stop]


def plain_color(option: str) -> str:
    """The first of WebShop's colour names that is part of `option`, otherwise `option`."""
    return next((color for color in _COLORS if color in option), option)


def plain_pair(name: str, value: str) -> str:
    """The first of WebShop's colour names that is the name or the value; otherwise both."""
    return next((color for color in _COLORS if color in (name, value)), f"{name} {value}")


@cache
def _stop_words(name: str) -> frozenset[str]:
    return frozenset(getattr(require("bm25s.stopwords", *EXTRA), name))
