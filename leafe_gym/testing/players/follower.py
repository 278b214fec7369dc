"""A player that follows a known walkthrough with mistakes: for text worlds.

Its reply depends on the chat alone. It recognises a task by what the first turn says, takes a wrong
command with probability `noise`, names the first wrong command when it reflects, and takes the
command that an experience names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from leafe_gym.errors import PolicyError, UsageError
from leafe_gym.testing.players.base import FoundMistake, ScriptedPlayer, probability
from leafe_gym.types import Message, Sampling

_ACTION = "Action: "
_EXPERIENCE = re.compile(r"Here, do: (.+)\.$", re.MULTILINE)


class Follower(ScriptedPlayer):
    """Follows walkthroughs with mistakes; see the module's docstring.

    Args:
        walkthroughs: text in a task's first turn -> commands that solve the task.
        noise: probability of a wrong command in place of the right one, 0 to 1, at temperatures
            above 0. After a wrong command the player continues with the rest of the walkthrough.
        wrong: the wrong commands; at least one.

    Raises:
        UsageError: if an argument cannot be used.
    """

    def __init__(
        self,
        walkthroughs: Mapping[str, Sequence[str]],
        noise: float = 0.1,
        wrong: Sequence[str] = ("look", "inventory"),
    ) -> None:
        if not isinstance(walkthroughs, Mapping):
            raise UsageError(f"walkthroughs={walkthroughs!r}: give a mapping of text to commands")
        if isinstance(wrong, str) or not wrong:
            raise UsageError(f"wrong={wrong!r}: give a sequence of at least one command")
        self._walkthroughs = {text: tuple(commands) for text, commands in walkthroughs.items()}
        self.noise = probability("noise", noise)
        self.wrong = tuple(wrong)
        super().__init__(self._reply, self._mistake, name=f"follower(noise={noise})")

    def _reply(self, messages: Sequence[Message], sampling: Sampling) -> str:
        known, taken = self._known(messages), _taken(messages)
        experiences = _EXPERIENCE.findall(messages[-1]["content"])
        if experiences:
            return f"{_ACTION}{experiences[-1]}"
        rng = np.random.default_rng(sampling.seed)
        right = known[len(taken)] if len(taken) < len(known) else self.wrong[0]
        errs = rng.random() < self.noise and sampling.temperature > 0
        return f"{_ACTION}{rng.choice(self.wrong) if errs else right}"

    def _mistake(self, messages: Sequence[Message], _: Sampling) -> FoundMistake | None:
        """The first action that is not the walkthrough's."""
        pairs = zip(_taken(messages), self._known(messages), strict=False)
        for step, (taken, right) in enumerate(pairs):
            if taken != right:
                return FoundMistake(step, f"{taken} did not help. Here, do: {right}.")
        return None

    def _known(self, messages: Sequence[Message]) -> tuple[str, ...]:
        """The walkthrough of the task.

        Raises:
            PolicyError: if there is none.
        """
        first = next(message["content"] for message in messages if message["role"] == "user")
        for text, commands in self._walkthroughs.items():
            if text in first:
                return commands
        raise PolicyError("the follower knows no walkthrough for this task; give it one")


def _taken(messages: Sequence[Message]) -> list[str]:
    replies = [message["content"] for message in messages if message["role"] == "assistant"]
    return [reply.removeprefix(_ACTION) for reply in replies]
