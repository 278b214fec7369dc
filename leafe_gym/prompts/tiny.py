"""The prompt set `tiny`: words for the small model that comes with the package.

Memoryless: an acting prompt is one turn with the step number, the board and the active experiences;
the reply is one word. A reflection request shows every step, board and action; its answer repeats
the board of the step it names before it gives the advice, because a model of this size gives better
advice right after the board in question. The environment's comments are not shown.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from leafe_gym.errors import BadReply
from leafe_gym.prompts.base import ReflectionVerdict
from leafe_gym.types import Completion, Experience, Json, Message, Start, Step, Task

ACTIONS = ("up", "down", "left", "right")
GRAMMAR = "tip* step board | (step board action)* step board failed -> step board not A but B"
"""Form of the turns; the set's hash is computed from it."""

_ANSWER = re.compile(
    r"s(\d{1,4})\s(?:[#\-.$*@+]+\s)+(not (up|down|left|right) but (up|down|left|right))"
)
_NONE = "none"


class TinyPrompts:
    """One prompt per step in a line grammar; see the module's docstring."""

    name = "tiny"

    def __init__(self) -> None:
        self.hash = hashlib.blake2b(GRAMMAR.encode(), digest_size=8).hexdigest()

    def render(
        self,
        task: Task,
        start: Start,
        steps: Sequence[Step],
        experiences: Sequence[Experience] = (),
    ) -> list[Message]:
        """See `PromptSet.render`; shows no history."""
        number = sum(step.action is not None for step in steps)
        board = next((s.observation for s in reversed(steps) if s.action), start.observation)
        lines = [experience_line(one) for one in experiences if one.step <= number]
        return _turn([*lines, f"s{number}", *inside(board)])

    def render_reflection(
        self,
        task: Task,
        start: Start,
        steps: Sequence[Step],
        experiences: Sequence[Experience] = (),
    ) -> list[Message]:
        """See `PromptSet.render_reflection`; shows the full history and no experiences."""
        lines: list[str] = []
        board, number = start.observation, 0
        for step in steps:
            if step.action is None:
                continue
            lines += [f"s{number}", *inside(board), step.action]
            board, number = step.observation, number + 1
        return _turn([*lines, f"s{number}", *inside(board), "failed"])

    render_refinement = render_reflection

    def reflection_schema(self, actions: int, over: bool) -> Json:
        """See `PromptSet.reflection_schema`; reflections are not JSON."""
        return None

    def parse_action(self, completion: Completion, admissible: Sequence[str] = ()) -> str:
        """See `PromptSet.parse_action`; the reply is one of the four words."""
        if completion.finish_reason == "length":
            raise BadReply("the reply was cut off")
        word = completion.text.strip()
        if word not in ACTIONS:
            raise BadReply(f"{word[:40]!r} is none of {', '.join(ACTIONS)}")
        return word

    def parse_reflection(self, completion: Completion, actions: int) -> ReflectionVerdict:
        """See `PromptSet.parse_reflection`; `s3 <board> not left but up`, or `none`."""
        if completion.finish_reason == "length":
            raise BadReply("the reply was cut off")
        text = " ".join(completion.text.split())
        if text == _NONE:
            return ReflectionVerdict(step=None)
        answer = _ANSWER.fullmatch(text)
        if answer is None:
            raise BadReply("it is not of the form: s3 <board> not left but up")
        step = int(answer[1])
        if step >= actions:
            raise BadReply(f"step {step} was not taken; the last one is {actions - 1}")
        if answer[3] == answer[4]:
            raise BadReply("it names one action as both the mistake and the remedy")
        return ReflectionVerdict(step=step, text=answer[2])

    def parse_refinement(self, completion: Completion) -> ReflectionVerdict:
        """See `PromptSet.parse_refinement`; the text says which step it is about."""
        verdict = self.parse_reflection(completion, actions=10_000)
        if verdict.step is None:
            raise BadReply("it names no mistake")
        return ReflectionVerdict(step=0, text=f"s{verdict.step} {verdict.text}")

    def unusable_reply_message(self, reason: str) -> str:
        """See `PromptSet.unusable_reply_message`."""
        return f"unusable: {reason}"


def experience_line(experience: Experience) -> str:
    """The line of an experience; one for a whole new attempt names its step in the text."""
    step = "" if experience.text.startswith("s") else f"s{experience.step} "
    return f"tip {step}{experience.text}"


def inside(board: str) -> list[str]:
    """The rows of a board without the walls around it."""
    return [row[1:-1] for row in board.split("\n")[1:-1]]


def _turn(lines: list[str]) -> list[Message]:
    return [{"role": "user", "content": "\n".join(lines)}]
