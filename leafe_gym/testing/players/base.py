"""The base of all scripted players: one function that acts and one that reflects."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from leafe_gym.errors import UsageError
from leafe_gym.types import Completion, Message, Sampling

_FAILED = re.compile(r"the attempt failed|the episode is over", re.IGNORECASE)


class FoundMistake(NamedTuple):
    """The result of a reflection.

    Attributes:
        step: tau, the index of the action to replace; >= 0.
        experience: what went wrong there and what to do instead.
    """

    step: int
    experience: str


Act = Callable[[Sequence[Message], Sampling], str]
"""Maps a chat to the whole text of an acting reply."""
Reflect = Callable[[Sequence[Message], Sampling], FoundMistake | None]
"""Maps a chat to the mistake in it; None if no action was a mistake."""


class ScriptedPlayer:
    """A policy made of two functions; `sampling.purpose` decides which one is called.

    Args:
        act: makes the reply for the purpose "act".
        reflect: finds the mistake for the purposes "reflect" and "refine".
        name: identifies the player and its settings in run folders.
        default: experience given for "refine" when `reflect` finds no mistake; not empty.
    """

    def __init__(
        self, act: Act, reflect: Reflect, *, name: str, default: str = "Go on as before."
    ) -> None:
        self.name = name
        self._act = act
        self._reflect = reflect
        self._default = default

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """The reply to a chat; a function of the messages and of `sampling` alone.

        Raises:
            PolicyError: if the chat is not about a task that this player can play.
        """
        if sampling.purpose == "act":
            return Completion(text=self._act(messages, sampling))
        mistake = self._reflect(messages, sampling)
        if sampling.purpose == "refine":
            reply = {"experience": mistake.experience if mistake else self._default}
            return Completion(text=json.dumps(reply))
        step, experience = mistake or (None, "")
        return Completion(text=json.dumps({"step": step, "experience": experience}))


def has_failed(messages: Sequence[Message]) -> bool:
    """Whether the last turn says that the attempt failed, rather than that it is unfinished."""
    return _FAILED.search(messages[-1]["content"]) is not None


def probability(name: str, value: float) -> float:
    """`value` if it is a number from 0 to 1.

    Raises:
        UsageError: naming the argument, otherwise.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise UsageError(f"{name}={value!r}: use a probability, 0 to 1")
    return value
