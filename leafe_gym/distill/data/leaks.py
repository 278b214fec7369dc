"""The leak check: a row must not contain text that only an experience contained.

An experience enters prompts only (paper, Stage 2: it is removed from the prompt). Replies that the
model wrote with the experience in its prompt may quote it: the target ("as advised, not up") and,
if a later step of the same attempt is the target, replies in the history. A row leaks if such a
text

* names an experience by its number ("experience 3"),
* holds five consecutive words of an experience that was shown in the history, in any order; of an
  experience of three or four words all of them; shorter ones are not checked. In Chinese and
  Japanese twice as many characters stand for words,
* holds a cue phrase ("as the advice says", "in the earlier attempt").

Words that the row contains anyway do not count: instruction, templates, observations, the actions
of the history, the target's own action, and replies from before any experience was shown (which an
experience may quote). A paraphrase that shares no five words is not found; `make bench NAME=rows`
measures the recall.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Literal

from leafe_gym.distill.data.word_splitting import is_character, words
from leafe_gym.prompts.base import PromptSet
from leafe_gym.tree import Tree
from leafe_gym.types import Message, Start, Step, Task

Gram = tuple[str, ...]
Reason = Literal["quote", "number", "cue"]

SIZE = 5
"""Consecutive words that make a quotation."""
SHORTEST = 3
"""Words of the shortest experience that is searched for."""

_NUMBER = re.compile(
    r"\b(?:experience|tips?|hints?)\s*(?:no\.?|number|id|#)?\s*[#:]?\s*(\d+)\b", re.IGNORECASE
)
_NOUN = r"(?:tips?|hints?|advice|experience|reflection|suggestion)"
_CUES = re.compile(
    rf"""\b(?:
      (?:as|like|what|following|per|given|heed(?:ing)?|follow|using|to|with|by|from)\s
        (?:(?:the|this|that|your|my|an?)\s)?{_NOUN}\b
    | (?:according\sto|based\son|because\sof|thanks\sto|due\sto|in\slight\sof|reading)\s
        (?:(?:the|this|that|your|my)\s)?{_NOUN}\b
    | (?:the|this|that|your)\s(?:tips?|hints?|advice|reflection)\b
    | {_NOUN}\s(?:says?|said|tells?|told|suggests?|suggested|warns?|warned|mentions?|states?)\b
    | i\s(?:was|am|were)\s(?:told|advised|warned|reminded)\b
    | (?:earlier|previous|prior|last|first|failed|other|past)\s(?:attempt|try|run|rollout|trial)s?\b
    | (?:last|next)\stime\b
    | look(?:ed|ing)?\sback\b
    | in\shindsight\b
    | learn(?:ed|t)\sfrom\b
    | (?:rolled|rolling|roll)\sback\b
    )""",
    re.IGNORECASE | re.VERBOSE,
)


def grams(text: str, size: int = SIZE) -> Iterator[Gram]:
    """Every `size` consecutive words, sorted, so that their order does not matter."""
    found = words(text)
    for at in range(len(found) - size + 1):
        yield tuple(sorted(found[at : at + size]))


class Quotes:
    """An index of the word groups of some experiences.

    Args:
        experiences: number -> text.
    """

    def __init__(self, experiences: Mapping[int, str]) -> None:
        self._owners: dict[Gram, set[int]] = {}
        self._sizes = set[int]()
        self._known: dict[str, frozenset[Gram]] = {}
        for number, text in experiences.items():
            found = words(text)
            # Two characters of a script without spaces are about one word.
            per_word = 2 if 2 * sum(map(is_character, found)) > len(found) else 1
            size = min(SIZE * per_word, len(found))
            if size < SHORTEST * per_word:
                continue
            self._sizes.add(size)
            for gram in grams(text, size):
                self._owners.setdefault(gram, set()).add(number)

    def among(self, text: str) -> frozenset[Gram]:
        """The word groups in `text` that any of the experiences holds."""
        if text not in self._known:
            self._known[text] = frozenset(
                gram for size in self._sizes for gram in grams(text, size) if gram in self._owners
            )
        return self._known[text]

    def of(self, found: Iterable[Gram], numbers: set[int]) -> set[Gram]:
        """Those of `found` that one of the experiences `numbers` holds."""
        return {gram for gram in found if self._owners[gram] & numbers}


def find(
    text: str,
    experiences: Mapping[int, str],
    allowed: Sequence[str] = (),
    quotes: Quotes | None = None,
) -> Reason | None:
    """Why `text` reveals an experience; None if it does not.

    Args:
        text: a reply.
        experiences: number -> text of those that had been shown.
        allowed: texts that the row contains anyway.
        quotes: an index of these experiences or more, if many texts are searched.

    Example:
        >>> shown = {3: "Pushing the box up here traps it, go left instead."}
        >>> find("It traps it here, pushing the box up. Action: left", shown)
        'quote'
        >>> find("As the advice says. Action: left", shown), find("Action: left", shown)
        ('cue', None)
    """
    quotes = quotes or Quotes(experiences)
    known = set(experiences)
    found = _Findings(quotes.of(quotes.among(text), known), *phrases(text, known))
    grams = {gram for other in allowed for gram in quotes.among(other)} if found.quotes else set()
    found.excuse(grams, [other.casefold() for other in allowed])
    return found.reason if found else None


class LeakCheck:
    """What the leak checks of all rows of one tree share.

    Args:
        tree: the tree whose experiences must not be revealed.
        prompts: the run's prompt set; words of its templates do not count.

    Attributes:
        texts: branch -> text of the experience that opened it.
        quotes: an index of these texts.
        start: texts that every row contains anyway.
    """

    def __init__(self, tree: Tree, prompts: PromptSet) -> None:
        self.texts = {
            branch.id: branch.experience.text
            for branch in tree.branches
            if branch.experience is not None
        }
        self.quotes = Quotes(self.texts)
        self.start = [tree.start.observation, tree.start.instruction, tree.task.instruction]
        self.start += template_texts(prompts)


class HistoryCheck:
    """The leak check for rows along one history, which grows by one step at a time.

    Texts that rows contain anyway only become more, so a finding that they excuse is dropped for
    good, and the others are looked at again when texts are added.
    """

    def __init__(self, tree: LeakCheck) -> None:
        self._tree = tree
        self._allowed: list[str] = []
        self._grams: set[Gram] = set()
        self._shown: set[int] = set()
        self._turns: set[Gram] = set()
        self._replies: list[_Findings] = []
        self._allow(tree.start)

    def add(self, step: Step) -> None:
        """The history grows by `step`."""
        self._shown |= set(step.experiences)
        texts = [step.observation]
        if step.action is not None:
            texts.append(step.action)
        if not self._shown:
            texts.append(step.reply)
        self._allow(texts)
        if self._shown and (found := self._search(step.reply, self._shown)):
            self._replies.append(found)

    def add_turns(self, turns: Iterable[Message]) -> None:
        """The prompt of all later rows has these turns, too."""
        self._turns |= self._quoted(turns)

    def reason(self, step: Step, target: str, turns: Iterable[Message] | None = None) -> str | None:
        """Why a row leaks: "quote in prompt", "cue in target", ...; None if it does not.

        Args:
            step: the step after the history, which the target was taken from.
            target: of the row.
            turns: the row's prompt as rendered; None where `add_turns` was told all of it.
        """
        if self._turns if turns is None else self._quoted(turns):
            return "quote in prompt"
        if self._replies:
            return f"{self._replies[0].reason} in prompt"
        found = self._search(target, self._shown | set(step.experiences))
        if found and step.action is not None:
            found.excuse(self._tree.quotes.among(step.action), [step.action.casefold()])
        return f"{found.reason} in target" if found else None

    def _quoted(self, turns: Iterable[Message]) -> set[Gram]:
        """Quotations in turns that the model did not write: rendered experiences, observations."""
        found: set[Gram] = set()
        for turn in turns:
            if turn["role"] != "assistant":
                found |= self._tree.quotes.among(turn["content"])
        return found - self._grams

    def _search(self, text: str, numbers: set[int]) -> _Findings:
        known = self._tree.texts.keys() & numbers
        quotes = self._tree.quotes
        found = _Findings(quotes.of(quotes.among(text), known), *phrases(text, known))
        found.excuse(self._grams, self._allowed)
        return found

    def _allow(self, texts: Sequence[str]) -> None:
        grams = {gram for text in texts for gram in self._tree.quotes.among(text)}
        folded = [text.casefold() for text in texts]
        self._grams |= grams
        self._allowed += folded
        self._turns -= grams
        for found in self._replies:
            found.excuse(grams, folded)
        self._replies = [found for found in self._replies if found]


@dataclass(slots=True)
class _Findings:
    """What in one text reveals an experience: quotations, numbers and cue phrases."""

    quotes: set[Gram]
    numbers: list[str]
    cues: list[str]

    def excuse(self, grams: AbstractSet[Gram], allowed: Sequence[str]) -> None:
        """Drop what the row contains anyway."""
        self.quotes -= grams
        if self.numbers:
            self.numbers = [one for one in self.numbers if not any(one in t for t in allowed)]
        if self.cues:
            self.cues = [one for one in self.cues if not any(one in t for t in allowed)]

    def __bool__(self) -> bool:
        return bool(self.quotes or self.numbers or self.cues)

    @property
    def reason(self) -> Reason:
        """The first reason there is."""
        return "quote" if self.quotes else "number" if self.numbers else "cue"


def phrases(text: str, numbers: AbstractSet[int]) -> tuple[list[str], list[str]]:
    """Phrases with the number of an experience, and cue phrases; case-folded."""
    named = [m[0].casefold() for m in _NUMBER.finditer(text) if int(m[1]) in numbers]
    return named, [match[0].casefold() for match in _CUES.finditer(text)]


def template_texts(prompts: PromptSet) -> list[str]:
    """The template texts of the set: the prompt of an empty episode."""
    blank = Step(action="", reply="", observation="")
    turns = prompts.render(Task(id="", env_id=""), Start(observation=""), [blank])
    return [turn["content"] for turn in turns]
