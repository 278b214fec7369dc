"""Finders of the nouns of a product's name, which decide the type factor of the reward."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache, lru_cache

from leafe_gym._optional import require
from leafe_gym.envs.webshop.word_lists import nouns
from leafe_gym.errors import UsageError

Tagger = Callable[[str], list[str]]
"""Name -> its nouns in lower case; may contain duplicates."""

_EXTRA = ("webshop-spacy", "WebShop's reward with spaCy")
_KEPT = 4096
_NOUNS = frozenset(("PNOUN", "NOUN", "PROPN"))
"""WebShop's list; `PNOUN` is no tag of spaCy's."""


def find_tagger(name: str | None) -> Tagger:
    """The tagger of a name.

    Args:
        name: None for this package's heuristic, see `word_lists.nouns`; otherwise an installed
            spaCy pipeline, such as WebShop's `en_core_web_lg`, or the path of one.

    Raises:
        MissingExtra: if a name is given and spaCy is not installed.
        UsageError: if there is no such pipeline, or it does not tag nouns.
    """
    if name is None:
        return nouns
    if type(name) is not str or not name:
        raise UsageError(f"tagger={name!r}: give the name or path of a spaCy pipeline")
    return _spacy_tagger(name)


@cache
def _spacy_tagger(name: str) -> Tagger:
    spacy = require("spacy", *_EXTRA)
    advice = f"python -m spacy download {name}; or leave tagger out"
    try:
        pipeline = spacy.load(name)
    except (OSError, ValueError) as error:
        said = str(error).strip().splitlines()[0]
        raise UsageError(
            f"tagger={name!r}: cannot be loaded by spaCy ({said}): {advice}"
        ) from error
    lock = threading.Lock()

    @lru_cache(_KEPT)
    def tagged(text: str) -> tuple[str, ...]:
        with lock:  # a pipeline caches strings and vectors
            return tuple(one.text.lower() for one in pipeline(text) if one.pos_ in _NOUNS)

    if not tagged("A table, a lamp and a book for a house"):
        raise UsageError(
            f"tagger={name!r}: this pipeline tags no nouns; use another, for example en_core_web_lg"
        )
    return lambda text: list(tagged(text))
