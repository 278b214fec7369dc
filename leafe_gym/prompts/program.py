"""The prompt set `program`: like `code`, for environments that judge every program by itself.

What an earlier program did changes nothing for the next one, so

* a program that is written with an experience is asked for without the programs before it: the
  prompt holds the last result and the experience. A small model that sees its failed program
  writes it again. Later turns and prompts without an experience show every program;
* a reflection after a failure names no step. The program to replace is the last one: any other
  would have to be followed by those after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from leafe_gym.prompts.code import CodePrompts
from leafe_gym.prompts.fitting import FULL
from leafe_gym.types import Experience, Message, PromptFit, Start, Step, Task

EXPERIENCE = """

An earlier program for this task was wrong. Advice for the next one:
$text"""


class ProgramPrompts(CodePrompts):
    """Chats about whole programs; see the module."""

    name = "program"
    names_step: ClassVar[bool] = False
    templates: ClassVar[Mapping[str, str]] = {
        **CodePrompts.templates,
        "experience": EXPERIENCE,
    }

    def render(
        self,
        task: Task,
        start: Start,
        steps: Sequence[Step],
        experiences: Sequence[Experience] = (),
        fit: PromptFit = FULL,
    ) -> list[Message]:
        """See `PromptSet.render`; what stands before the last experience is its last result."""
        hidden = _turns(steps, max((one.step for one in experiences), default=0))
        if not hidden:
            return super().render(task, start, steps, experiences, fit)
        return super().render(
            task,
            replace(start, observation=steps[hidden - 1].observation),
            steps[hidden:],
            [replace(one, step=0) for one in experiences],
            PromptFit(
                shortened=max(0, fit.shortened - hidden), dropped=max(0, fit.dropped - hidden)
            ),
        )

    def render_step(self, step: Step, number: int) -> list[Message]:
        """See `PromptSet.render_step`; a class with a `render` of its own does not inherit it.

        Without an experience `render` shows every turn, so later prompts extend earlier ones.
        """
        return super().render_step(step, number)


def _turns(steps: Sequence[Step], actions: int) -> int:
    """Turns up to and with the last of the first `actions` actions."""
    turns = [at + 1 for at, step in enumerate(steps) if step.action is not None]
    return turns[actions - 1] if 0 < actions <= len(turns) else 0
