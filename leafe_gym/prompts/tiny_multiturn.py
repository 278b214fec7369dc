"""The prompt set `tiny-multiturn`: the small model's words as one append-only conversation.

Every board is a user turn and every action an assistant turn, so a server with a prefix cache reads
each board once and the prompt holds the whole history. An experience is the end of the user turn of
its own tau, a reflection request the end of the last one. A reply without an action is left out of
later prompts: the same prompt is sent again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from leafe_gym.prompts.tiny import TinyPrompts, experience_line, inside
from leafe_gym.types import Experience, Message, Start, Step, Task

GRAMMAR = "(step board tip*, action)* step board tip* | ... step board failed -> as in tiny"
"""Form of the turns; the set's hash is computed from it."""


class TinyMultiTurnPrompts(TinyPrompts):
    """The grammar of `TinyPrompts`, with the whole history; see the module's docstring."""

    name = "tiny-multiturn"

    def __init__(self) -> None:
        self.hash = hashlib.blake2b(GRAMMAR.encode(), digest_size=8).hexdigest()

    def render(
        self,
        task: Task,
        start: Start,
        steps: Sequence[Step],
        experiences: Sequence[Experience] = (),
    ) -> list[Message]:
        """See `PromptSet.render`; shows the full history."""
        chat: list[Message] = []
        board, number = start.observation, 0
        for step in steps:
            if step.action is not None:
                chat.append({"role": "user", "content": _turn(number, board, experiences)})
                chat.append({"role": "assistant", "content": step.action})
                board, number = step.observation, number + 1
        return [*chat, {"role": "user", "content": _turn(number, board, experiences)}]

    def render_reflection(
        self,
        task: Task,
        start: Start,
        steps: Sequence[Step],
        experiences: Sequence[Experience] = (),
    ) -> list[Message]:
        """See `PromptSet.render_reflection`; a suffix of the acting prompt."""
        *before, last = self.render(task, start, steps, experiences)
        return [*before, {"role": "user", "content": f"{last['content']}\nfailed"}]

    render_refinement = render_reflection


def _turn(number: int, board: str, experiences: Sequence[Experience]) -> str:
    own = [experience_line(one) for one in experiences if one.step == number]
    return "\n".join([f"s{number}", *inside(board), *own])
