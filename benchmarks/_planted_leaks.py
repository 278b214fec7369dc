"""How much of what is planted the leak check finds, and how often it cries wolf.

Experiences and replies are composed from word lists of household, shop and laboratory tasks, the
way models write them. Each is planted in several ways; a reply that was written without the
experience, and one that takes the advised action for reasons of its own, should pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from leafe_gym.distill.data.leaks import find
from leafe_gym.seeds import derive_rng

SYNONYMS = {
    "before": "prior to", "because": "since", "wrong": "incorrect", "instead": "rather",
    "first": "initially", "already": "by now", "check": "verify", "take": "grab", "put": "place",
    "open": "unlock", "need": "require", "empty": "vacant", "find": "locate", "use": "apply",
    "close": "shut", "look": "search", "go": "walk", "leads": "brings", "wasted": "squandered",
    "steps": "moves", "missed": "overlooked", "start": "begin", "holds": "contains",
}  # fmt: skip
_THINGS = (
    "mug", "red box", "thermometer", "desk lamp", "apple", "soap bar", "metal pot", "credit card",
    "blue shirt", "copper wire", "bucket", "remote control", "pencil", "battery", "tomato",
)  # fmt: skip
_PLACES = (
    "kitchen", "cabinet 2", "drawer 3", "workshop", "fridge", "hallway", "shelf 1", "greenhouse",
    "foundry", "bathroom", "search page", "side table", "upper left corner", "art studio",
)  # fmt: skip
_FLAWS = (
    "The {a} was put in the {p}, which is wrong because the task wants it in the {q}.",
    "You went to the {p} although it was already empty, so four steps were wasted there.",
    "The {a} was never found because you did not look inside the {p} first.",
    "Opening the {p} before you take the {a} leads to a dead end near the {q}.",
    "You bought the {a} without a check of its price and missed the offer on the {q}.",
    "Pushing the {a} against the wall of the {p} made it impossible to move it to the {q}.",
)
_FIXES = (
    "Take the {b} from the {q} and put it next to the {a} instead.",
    "Go to the {q} first, open it and look for the {b} before anything else.",
    "You need to use the {b} on the {a} while it still holds in the {p}.",
    "Check the {q} at the start, close the {p} behind you, then find the {b}.",
)
_THOUGHTS = (
    "I see the {a} near the {p}. The task asks for the {b}, so I move on.",
    "The {p} looks promising; I have not been there yet.",
    "I hold the {a} now. What is left is to bring it where it belongs.",
    "There is nothing useful here. I should search the {q} for the {b}.",
    "The observation mentions the {q}, so that is where I act next.",
)
_ADVISED = (
    "I go to the {q}, open it and look for the {b}.",
    "The {b} should be in the {q}, so I take it there and bring it to the {a}.",
    "I need to use the {b}, so I leave the {p}.",
    "The {p} is empty, so no more steps are wasted there.",
    "First the {q}, then the {b}.",
    "I take the {b} from the {q} and carry it to the {p}.",
    "The {a} cannot be moved from the wall, so I try the {q}.",
)
_RETOLD = (
    "No use in visiting {p} again; {b} must come from {q}.",
    "{q} beats {p} here, and {a} can wait.",
    "It would be a mistake to bother with {p}: {q} has what matters, {b}.",
    "Putting {a} in {p} fails. {q} works, with {b}.",
    "Better: {b}, out of {q}, ahead of all else.",
)
_CUES = (
    "As the tip says, I do this differently.", "Following the hint, I change my plan.",
    "In the earlier attempt this failed.", "According to the advice, this is better.",
    "I was told not to do that again.", "The hint suggests another way.",
    "Last time I got stuck here.", "Given the reflection, I choose otherwise.",
    "Looking back, that was a mistake.", "The previous attempt went wrong at this point.",
)  # fmt: skip
_OTHER_CUES = (
    "The guidance I got recommends something else.", "I remember this going badly.",
    "I have been here before and it did not end well.", "The note above asks me to wait.",
    "Since I now know what happens, I avoid it.",
)  # fmt: skip
_ACTIONS = ("go to the {q}", "take {b} from {q}", "open {q}", "look", "use {b} on {a}")


def measure(count: int = 500, seed: int = 0) -> dict[str, float | int]:
    """Shares found, by way of planting, of `count` leaks each; and shares of false alarms.

    Keys: `planted` (all leaks together); verbatim quotations: `recall_verbatim`, `recall_fragment`
    (5 to 8 words in a row); paraphrases of one sentence: `recall_swapped` (every third word
    exchanged with its neighbour), `recall_synonyms`, `recall_thinned` (synonyms, and every fourth
    word left out), `recall_retold` (said anew: nothing that compares words finds it); phrases
    that point at an experience: `recall_cue` (of the kind the check knows), `recall_other_cue`
    (of other kinds, shown so that nobody counts on them); `false_alarms_clean` (the reply knows
    nothing) and `false_alarms_advised` (it does what is advised and gives reasons of its own, in
    part with the same words).
    """
    found: Counter[str] = Counter()
    for index in range(count):
        rng = derive_rng(seed, "planted", index)
        case = _Case(rng)
        for name, plant in _WAYS.items():
            found[name] += find(plant(case), case.experiences, case.allowed) is not None
    shares = {name: found[name] / count for name in _WAYS}
    leaks = sum(name.startswith("recall") for name in _WAYS)
    return {"planted": count * leaks, **shares}


class _Case:
    """One experience, and a reply that does not know it."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        a, b = rng.choice(_THINGS, 2, replace=False)
        p, q = rng.choice(_PLACES, 2, replace=False)
        self._names = {"a": str(a), "b": str(b), "p": str(p), "q": str(q)}
        self.experience = f"{self.one(_FLAWS)} {self.one(_FIXES)}"
        self.experiences = {int(rng.integers(1, 99)): self.experience}
        self.thought = self.one(_THOUGHTS)
        self.action = self.one(_ACTIONS)
        self.allowed = [
            f"You are in the {p}. You see: {a}, {b}. A way leads to the {q}.",
            "Your task is to find the right thing and bring it home.",
            self.action,
        ]

    def one(self, templates: tuple[str, ...]) -> str:
        """One of the templates, filled in."""
        return str(self.rng.choice(templates)).format(**self._names)

    def reply(self, thought: str) -> str:
        """A reply that thinks `thought`, too."""
        thoughts = [self.thought, thought] if self.rng.random() < 0.5 else [thought, self.thought]
        return f"{' '.join(thoughts)}\nAction: {self.action}"

    def fragment(self) -> str:
        """5 to 8 words of the experience in a row, within another sentence."""
        said = self.experience.split()
        size = int(self.rng.integers(5, 9))
        at = int(self.rng.integers(0, len(said) - size + 1))
        return f"Perhaps {' '.join(said[at : at + size])} matters now."

    def sentence(self) -> list[str]:
        """The words of one of the experience's two sentences or more."""
        flaw, _, fix = self.experience.partition(". ")
        return str(self.rng.choice([flaw, fix])).split()

    def swapped(self) -> str:
        """A sentence of the experience, every third word exchanged with its neighbour."""
        said = self.sentence()
        for at in range(int(self.rng.integers(0, 3)), len(said) - 1, 3):
            said[at], said[at + 1] = said[at + 1], said[at]
        return " ".join(said)

    def synonyms(self) -> str:
        """A sentence of the experience, with a synonym for every word that has one."""
        return " ".join(SYNONYMS.get(word.strip(".,").lower(), word) for word in self.sentence())

    def both(self) -> str:
        """A sentence of the experience with synonyms, every fourth other word left out."""
        said = [SYNONYMS.get(word.strip(".,").lower(), word) for word in self.sentence()]
        at = int(self.rng.integers(0, 4))
        return " ".join(word for index, word in enumerate(said) if index % 4 != at)


_WAYS: dict[str, Callable[[_Case], str]] = {
    "recall_verbatim": lambda case: case.reply(case.experience),
    "recall_fragment": lambda case: case.reply(case.fragment()),
    "recall_swapped": lambda case: case.reply(case.swapped()),
    "recall_synonyms": lambda case: case.reply(case.synonyms()),
    "recall_thinned": lambda case: case.reply(case.both()),
    "recall_retold": lambda case: case.reply(case.one(_RETOLD)),
    "recall_cue": lambda case: case.reply(case.one(_CUES)),
    "recall_other_cue": lambda case: case.reply(case.one(_OTHER_CUES)),
    "false_alarms_clean": lambda case: f"{case.thought}\nAction: {case.action}",
    "false_alarms_advised": lambda case: case.reply(case.one(_ADVISED)),
}
