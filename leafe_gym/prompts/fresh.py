"""The prompt set `fresh`: like `program`, but no program is ever shown to the model that acts.

A prompt holds the task, the last result and the experiences. A small model that sees its failed
programs writes them again, so that all but the first attempt of a conversation are lost; a larger
one may repair what it sees, and then `program` is the better set. Reflections show every program.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from leafe_gym.prompts.fitting import FULL
from leafe_gym.prompts.program import ProgramPrompts
from leafe_gym.types import Experience, Message, PromptFit, Start, Step, Task


class FreshPrompts(ProgramPrompts):
    """Chats of one turn about whole programs; see the module."""

    name = "fresh"

    def render(
        self,
        task: Task,
        start: Start,
        steps: Sequence[Step],
        experiences: Sequence[Experience] = (),
        fit: PromptFit = FULL,
    ) -> list[Message]:
        """See `PromptSet.render`; there is nothing that `fit` could cut."""
        results = [step.observation for step in steps if step.action is not None]
        if results:
            start = replace(start, observation=results[-1])
        return super().render(task, start, (), [replace(one, step=0) for one in experiences])
