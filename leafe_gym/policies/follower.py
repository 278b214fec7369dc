"""A player that knows the way and does not always take it: for tests and examples of text worlds.

It stands in for a model where no model is: what it says depends on the chat alone. It knows a
walkthrough for each task by what the task says in its first turn, strays from it now and then,
finds where it strayed when it looks back, and does what the tip says where there is one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

import numpy as np

from leafe_gym.errors import PolicyError
from leafe_gym.types import Completion, Message, Sampling

_ACTION = "Action: "
_TIP = re.compile(r"Here, do: (.+)\.$", re.MULTILINE)


class Follower:
    """Follows walkthroughs with mistakes; see the module's docstring.

    Args:
        walkthroughs: what a task's first turn holds -> commands that do the task.
        noise: chance of a wrong command in place of the right one, 0 to 1; a wrong one is
            followed by the rest of the walkthrough, as if it had been right.
        wrong: commands to stray with.
    """

    def __init__(
        self,
        walkthroughs: Mapping[str, Sequence[str]],
        noise: float = 0.1,
        wrong: Sequence[str] = ("look", "inventory"),
    ) -> None:
        self._ways = {said: tuple(way) for said, way in walkthroughs.items()}
        self.noise = noise
        self.wrong = tuple(wrong)
        self.name = f"follower(noise={noise})"

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """A reply in the form the prompt set `chat` asks for.

        Raises:
            PolicyError: if the chat is about no task that it knows.
        """
        way = self._way(messages)
        done = [
            message["content"].removeprefix(_ACTION)
            for message in messages
            if message["role"] == "assistant"
        ]
        last = messages[-1]["content"]
        if "JSON object" in last:
            return Completion(text=_look_back(way, done, '"step"' in last))
        tips = _TIP.findall(last)
        if tips:
            return Completion(text=f"{_ACTION}{tips[-1]}")
        rng = np.random.default_rng(sampling.seed)
        right = way[len(done)] if len(done) < len(way) else self.wrong[0]
        strays = rng.random() < self.noise and sampling.temperature > 0
        return Completion(text=f"{_ACTION}{rng.choice(self.wrong) if strays else right}")

    def _way(self, messages: Sequence[Message]) -> tuple[str, ...]:
        first = next(message["content"] for message in messages if message["role"] == "user")
        for said, way in self._ways.items():
            if said in first:
                return way
        raise PolicyError("the follower knows no walkthrough for this task; give it one")


def _look_back(way: Sequence[str], done: Sequence[str], wants_step: bool) -> str:
    """Names the first action that is not the walkthrough's."""
    pairs = enumerate(zip(done, way, strict=False))
    step = next((number for number, (did, right) in pairs if did != right), None)
    tip = "" if step is None else f"{done[step]} led nowhere. Here, do: {way[step]}."
    if not wants_step:
        return json.dumps({"experience": tip or "Go on as before."})
    return json.dumps({"step": step, "experience": tip})
