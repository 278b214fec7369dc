"""The leak check: rows must not tell what only an experience said.

An experience enters prompts only (paper, Stage 2: it is removed from the prompt). Once it is out
of them it can still hide in what the model wrote while it saw it: in the target ("as the tip says,
not up") and, where a later step of the same attempt is the target, in the history's replies. A row
leaks if such a text

* names an experience by its number ("experience 3"),
* holds five words in a row of an experience that was shown on the way there, in any order; of an
  experience of three or four words all of them; shorter ones cannot be told from chance,
* holds a cue phrase ("as the hint says", "in the earlier attempt").

Words that the row has from elsewhere do not count: instruction, templates, observations, the
actions of the history, the target's own action, and what was said before any experience was shown
(an experience may quote it). A paraphrase that shares no five words is not found; `planted.py`
measures how many.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

from leafe_gym.prompts.base import PromptSet
from leafe_gym.tree import Tree
from leafe_gym.types import Message, Start, Step, Task

Gram = tuple[str, ...]
Reason = Literal["quote", "number", "cue"]

SIZE = 5
"""Words in a row that make a quotation."""
SHORTEST = 3
"""Words of the shortest experience that is looked for as a whole."""

_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"\b(?:experience|tip|hint)\s*(?:no\.?|number|id|#)?\s*[#:]?\s*(\d+)\b", re.I)
_NOUN = r"(?:tips?|hints?|advice|experience|reflection|suggestion)"
_CUES = re.compile(
    rf"""\b(?:
      (?:as|like|what|following|per|given|heed(?:ing)?|follow|using|to|with|by|from)\s
        (?:(?:the|this|that|your|my|an?)\s)?{_NOUN}\b
    | (?:according\sto|based\son|because\sof|thanks\sto|due\sto|in\slight\sof|reading)\s
        (?:(?:the|this|that|your|my)\s)?{_NOUN}\b
    | (?:the|this|that|your)\s(?:tip|hint|advice|reflection)\b
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


def words(text: str) -> list[str]:
    """The words of a text: letters, digits and underscores, case put aside."""
    return _WORD.findall(text.casefold())


def grams(text: str, size: int = SIZE) -> Iterator[Gram]:
    """Every `size` words in a row, their order put aside; a swap of neighbours changes nothing."""
    found = words(text)
    for at in range(len(found) - size + 1):
        yield tuple(sorted(found[at : at + size]))


class Quotes:
    """The quotations of some experiences, ready to be looked for.

    Args:
        experiences: number -> text.
    """

    def __init__(self, experiences: Mapping[int, str]) -> None:
        self._owners: dict[Gram, set[int]] = {}
        self._sizes = set[int]()
        self._known: dict[str, frozenset[Gram]] = {}
        for number, text in experiences.items():
            size = min(SIZE, len(words(text)))
            if size < SHORTEST:
                continue
            self._sizes.add(size)
            for gram in grams(text, size):
                self._owners.setdefault(gram, set()).add(number)

    def among(self, text: str) -> frozenset[Gram]:
        """The quotations in `text`, of whichever experience."""
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
    """Why `text` tells of an experience; None if it does not.

    Args:
        text: a reply.
        experiences: number -> text of those that had been shown.
        allowed: texts that the row holds anyway.
        quotes: of these experiences or more, where many texts are searched.

    Example:
        >>> tip = {3: "Pushing the box up here traps it, go left instead."}
        >>> find("It traps it here, pushing the box up. Action: left", tip)
        'quote'
        >>> find("As the hint says. Action: left", tip), find("Action: left", tip)
        ('cue', None)
    """
    quotes = quotes or Quotes(experiences)
    hits = quotes.of(quotes.among(text), set(experiences))
    if hits and not hits <= {gram for other in allowed for gram in quotes.among(other)}:
        return "quote"
    if any(int(m[1]) in experiences and not _said(m[0], allowed) for m in _NUMBER.finditer(text)):
        return "number"
    if any(not _said(match[0], allowed) for match in _CUES.finditer(text)):
        return "cue"
    return None


def _said(phrase: str, allowed: Sequence[str]) -> bool:
    return any(phrase.casefold() in text.casefold() for text in allowed)


class LeakCheck:
    """The leak check for the rows of one tree.

    Args:
        tree: its experiences are what must not be told.
        prompts: the run's prompt set, whose own words do not count.
    """

    def __init__(self, tree: Tree, prompts: PromptSet) -> None:
        self._texts = {
            branch.id: branch.experience.text
            for branch in tree.branches
            if branch.experience is not None
        }
        self._quotes = Quotes(self._texts)
        self._start = [tree.start.observation, tree.start.instruction, tree.task.instruction]
        self._start += template_texts(prompts)

    def reason(
        self, history: Sequence[Step], step: Step, prompt: Sequence[Message], target: str
    ) -> str | None:
        """Why a row is to be dropped: "quote in prompt", "cue in target", ...; None to keep it.

        Args:
            history: the steps before the target's.
            step: the step that the target was taken from.
            prompt: the row's prompt, as rendered.
            target: what the row asks for.
        """
        allowed = [*self._start, *(past.observation for past in history)]
        allowed += [past.action for past in history if past.action is not None]
        shown: set[int] = set()
        for past in history:
            shown |= set(past.experiences)
            if not shown:
                allowed.append(past.reply)
        # Turns that the model did not write: an experience there was rendered, or came back to it.
        for turn in prompt:
            if turn["role"] != "assistant":
                found = self._quotes.among(turn["content"])
                if found and not found <= self._grams(allowed):
                    return "quote in prompt"
        shown = set()
        for past in history:
            shown |= set(past.experiences)
            if shown and (reason := self._find(past.reply, shown, allowed)):
                return f"{reason} in prompt"
        shown |= set(step.experiences)
        if step.action is not None:
            allowed.append(step.action)
        reason = self._find(target, shown, allowed)
        return f"{reason} in target" if reason else None

    def _find(self, text: str, shown: set[int], allowed: Sequence[str]) -> Reason | None:
        texts = {number: self._texts[number] for number in shown if number in self._texts}
        return find(text, texts, allowed, self._quotes)

    def _grams(self, texts: Sequence[str]) -> set[Gram]:
        return {gram for text in texts for gram in self._quotes.among(text)}


def template_texts(prompts: PromptSet) -> list[str]:
    """The set's own words, as they stand in the prompt of an empty episode."""
    blank = Step(action="", reply="", observation="")
    turns = prompts.render(Task(id="", env_id=""), Start(observation=""), [blank])
    return [turn["content"] for turn in turns]
