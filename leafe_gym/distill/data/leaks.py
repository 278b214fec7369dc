"""The leak check: a row must not contain text that only an experience contained.

An experience enters prompts only (paper, Stage 2: it is removed from the prompt). Replies that the
model wrote with the experience in its prompt may quote it: the target ("as advised, not up") and,
if a later step of the same attempt is the target, replies in the history. A row leaks if such a
text

* names an experience by its number ("experience 3"),
* holds five consecutive words of an experience that was shown in the history, in any order; of an
  experience of three or four words all of them; shorter ones are not checked,
* holds a cue phrase ("as the advice says", "in the earlier attempt").

Words that the row contains anyway do not count: instruction, templates, observations, the actions
of the history, the target's own action, and replies from before any experience was shown (which an
experience may quote). A paraphrase that shares no five words is not found; `make bench NAME=rows`
measures the recall.
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
"""Consecutive words that make a quotation."""
SHORTEST = 3
"""Words of the shortest experience that is searched for."""

_WORD = re.compile(r"\w+")
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


def words(text: str) -> list[str]:
    """The words of a text (letters, digits, underscores), case-folded."""
    return _WORD.findall(text.casefold())


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
            size = min(SIZE, len(words(text)))
            if size < SHORTEST:
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
    hits = quotes.of(quotes.among(text), set(experiences))
    if hits and not hits <= {gram for other in allowed for gram in quotes.among(other)}:
        return "quote"
    numbered = _NUMBER.finditer(text)
    if any(int(m[1]) in experiences and not _contained(m[0], allowed) for m in numbered):
        return "number"
    if any(not _contained(match[0], allowed) for match in _CUES.finditer(text)):
        return "cue"
    return None


def _contained(phrase: str, allowed: Sequence[str]) -> bool:
    return any(phrase.casefold() in text.casefold() for text in allowed)


class LeakCheck:
    """The leak check for the rows of one tree.

    Args:
        tree: the tree whose experiences must not be revealed.
        prompts: the run's prompt set; words of its templates do not count.
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
        """Why a row leaks: "quote in prompt", "cue in target", ...; None if it does not.

        Args:
            history: the steps before the target's.
            step: the step that the target was taken from.
            prompt: the row's prompt, as rendered.
            target: of the row.
        """
        allowed = [*self._start, *(past.observation for past in history)]
        allowed += [past.action for past in history if past.action is not None]
        shown: set[int] = set()
        for past in history:
            shown |= set(past.experiences)
            if not shown:
                allowed.append(past.reply)
        # Turns that the model did not write: an experience there was rendered or is an observation.
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
    """The template texts of the set: the prompt of an empty episode."""
    blank = Step(action="", reply="", observation="")
    turns = prompts.render(Task(id="", env_id=""), Start(observation=""), [blank])
    return [turn["content"] for turn in turns]
