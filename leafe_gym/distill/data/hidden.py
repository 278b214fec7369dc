"""Rows that need hidden knowledge: actions that state what their prompt does not hold.

In a partially observed task an experience can tell what the prompt at tau does not: "the code is
4711". The revised action is right, and no policy could have known it there; training on it teaches
guessing. The leak check does not find such rows, because it excuses the words of actions.

An action holds hidden knowledge if one of its words, or a run of its digits or single letters,

* is in an experience that was shown, the only way in which later observations and other branches
  reach the policy, and
* is not in the row's own prompt, and
* does not occur in a tenth of the run's tasks: what is the same in many tasks can be learned, what
  differs from task to task cannot, and
* was not said in this tree by the policy by itself: before any experience, and before it was read
  in an observation.

In runs of fewer than ten tasks, where words cannot be compared, and in actions of more than twelve
words, such as programs, only those with a digit count.

With a `Score` also: the experience makes the action at least ten times as likely under the acting
policy, to which it has a chance below 5 % without the experience. An action that is merely unlikely
is what training is for, so the likelihoods alone decide nothing.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from pathlib import Path

from leafe_gym.store.reader import RunReader
from leafe_gym.tree import Branch, Tree
from leafe_gym.types import Message, Step

Score = Callable[[Sequence[Message], str], float]
"""`f(chat, reply)`: the log-likelihood of a reply under the acting policy, in nats."""

SHARE = 0.1
"""Words that occur in this share of the tasks do not count as hidden knowledge."""
FEWEST = 2
"""In this many tasks at least."""
LONGEST = 12
"""Actions of at most this many words are searched for hidden knowledge word by word."""
COMPARABLE = 10
"""Tasks of a run whose words can be compared."""
RATIO = math.log(10)
"""Least log-likelihood ratio, with and without the experience."""
REACHED = math.log(0.05)
"""A log-likelihood without the experience from which the policy reaches the action by itself."""
DOWN = 0.1
"""Weight of a row that is weighed down without a `Score`."""
LEAST = 1e-6
"""Least weight of a row that is weighed down."""

_WORD = re.compile(r"\w+")


def units(text: str) -> set[str]:
    """The words of a text, case-folded, and its runs of digits and single letters, joined.

    Example:
        >>> sorted(units("Dial 3-1-4, then push."))
        ['1', '3', '314', '4', 'dial', 'push', 'then']
    """
    found = set()
    run = ""
    for word in [*_WORD.findall(text.casefold()), "  "]:
        if word.isdigit() or len(word) == 1:
            run += word
        else:
            found.add(run)
            run = ""
        found.add(word)
    return found - {"", "  "}


class RunVocabulary:
    """The words that occur in many tasks of a run; read when first needed.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._words: frozenset[str] | None = None
        self._few = False

    def __contains__(self, word: object) -> bool:
        if self._words is None:
            self._words = self._read()
        return word in self._words or (self._few and not _has_digit(str(word)))

    def _read(self) -> frozenset[str]:
        counts: Counter[str] = Counter()
        tasks = 0
        with RunReader(self._folder) as run:
            for tree in run.trees():
                tasks += 1
                counts.update(set().union(*map(units, _texts(tree))))
        self._few = tasks < COMPARABLE
        least = max(FEWEST, math.ceil(SHARE * tasks))
        return frozenset(word for word, count in counts.items() if count >= least)


def _has_digit(word: str) -> bool:
    return any(map(str.isdigit, word))


def _texts(tree: Tree) -> Iterator[str]:
    """All texts of a tree but the thinking."""
    yield from (tree.start.observation, tree.start.instruction, tree.task.instruction)
    for branch in tree.branches:
        if branch.experience is not None:
            yield branch.experience.text
        for step in branch.steps:
            yield from (step.reply, step.observation)


def own_words(tree: Tree) -> set[str]:
    """What the policy said in a tree before any experience, and had not read in an observation."""
    own: set[str] = set()
    for branch in tree.branches:
        if any(node.experience is not None for node in tree.ancestry(branch.id)):
            continue
        read = units(f"{tree.start.observation}\n{tree.start.instruction}\n{tree.task.instruction}")
        for step in tree.history(branch.id):
            if step.experiences:
                break
            own |= units(f"{step.reasoning}\n{step.reply}") - read
            read |= units(step.observation)
    return own


class HiddenCheck:
    """The check for the rows of one tree.

    Args:
        tree: the tree.
        vocabulary: of its run, see `RunVocabulary`.
        score: of the acting policy, if there is one.
    """

    def __init__(self, tree: Tree, vocabulary: Container[str], score: Score | None = None) -> None:
        self._tree, self._vocabulary, self._score = tree, vocabulary, score
        self._own: set[str] | None = None

    def words(self, step: Step, prompt: Iterable[Message], shown: Iterable[Branch]) -> set[str]:
        """The words of a step's action that nothing in its prompt and no habit explains.

        Args:
            step: with an action.
            prompt: of the row.
            shown: branches whose experience was in a prompt up to this step.
        """
        told: set[str] = set()
        for branch in shown:
            if branch.experience is not None:
                told |= units(branch.experience.text)
        if not told or step.action is None:
            return set()
        found = units(step.action) & told
        if len(_WORD.findall(step.action)) > LONGEST:
            found = set(filter(_has_digit, found))
        for turn in prompt if found else ():
            found -= units(turn["content"])
        if found and self._own is None:
            self._own = own_words(self._tree)
        return {word for word in found - (self._own or set()) if word not in self._vocabulary}

    def weight(self, prompt: Sequence[Message], told: Sequence[Message], reply: str) -> float:
        """How much of an action the policy reaches without the experience, 0 to 1; 1 for all.

        Args:
            prompt: of the row.
            told: the prompt with the experience.
            reply: the action, as the policy would say it.
        """
        if self._score is None:
            return DOWN
        without = self._score(prompt, reply)
        ratio = self._score(told, reply) - without
        if math.isnan(ratio):  # the likelihoods say nothing: both may be 0
            return DOWN
        return max(LEAST, math.exp(-ratio)) if ratio >= RATIO and without < REACHED else 1.0
