"""The prompt set `code`: the conversation of `chat`, where an action is a piece of code.

Which fence of a reply counts is said in `leafe_gym.prompts.fences.find_code`. Comments of the
environment name actions by their number alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from leafe_gym.prompts import parse
from leafe_gym.prompts.chat import ChatPrompts
from leafe_gym.prompts.fences import find_code
from leafe_gym.types import Completion, Step

SYSTEM = """You solve tasks by writing Python code. Every reply holds the code in one fence that \
starts with ```python. Write nothing after it: no example output, no explanation."""

FIRST = """$instruction

$observation"""

TURN = """$observation

Reply with your next code, complete and corrected, in one fence that starts with ```python."""


class CodePrompts(ChatPrompts):
    """Chats about code; see the module."""

    name = "code"
    templates: ClassVar[Mapping[str, str]] = {
        "system": SYSTEM,
        "first": FIRST,
        "turn": TURN,
        "over": "$observation",
    }

    def parse_action(self, completion: Completion) -> str:
        """See `PromptSet.parse_action`; the code of a fence, see `find_code`."""
        return find_code(parse.answer_text(completion))

    def _named(self, number: int, step: Step) -> str:
        return f"action {number}"
