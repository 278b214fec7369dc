"""What a prompt set is: everything between records and the words a model sees.

A set owns rendering and parsing. Acting, evaluation, distillation and the viewer call the same
one, so what was trained on is what was seen; a run stores the set's name and hash.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from leafe_gym.errors import UsageError
from leafe_gym.types import Completion, Experience, Json, Message, Start, Step, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A reflection that could be read.

    Attributes:
        step: tau, 0 to t-1; None for "no mistake".
        text: e; "" for "no mistake".
        repaired: the JSON had to be repaired first.
    """

    step: int | None
    text: str = ""
    repaired: bool = False


class PromptSet(Protocol):
    """Rendering and parsing of one kind of conversation.

    `steps` is always the whole history from step 0; how much of it is shown belongs to the set.
    A row's prompt is `render` of the same steps with `experiences=()`.
    """

    name: str
    hash: str
    reflection_schema: Json

    def render(
        self,
        task: Task,
        start: Start,
        steps: Sequence[Step],
        experiences: Sequence[Experience] = (),
    ) -> list[Message]:
        """The acting prompt after `steps`; each experience stands in the turn of its own tau."""
        ...

    def render_reflection(
        self,
        task: Task,
        start: Start,
        steps: Sequence[Step],
        experiences: Sequence[Experience] = (),
    ) -> list[Message]:
        """The request to name tau and e, a suffix of the acting prompt's last user turn."""
        ...

    def render_refinement(
        self,
        task: Task,
        start: Start,
        steps: Sequence[Step],
        experiences: Sequence[Experience] = (),
    ) -> list[Message]:
        """The request to name e for a new attempt from step 0 (iterative refinement)."""
        ...

    def parse_action(self, completion: Completion) -> str:
        """The action in a reply.

        Raises:
            BadReply: if the reply was cut, or holds no action or several.
        """
        ...

    def parse_reflection(self, completion: Completion, actions: int) -> Verdict:
        """(tau, e) or "no mistake" after `actions` actions.

        Raises:
            BadReply: if the reply was cut, is no such answer, or names a step outside
                0..actions-1.
        """
        ...

    def parse_refinement(self, completion: Completion) -> Verdict:
        """The e for a new attempt, with step 0.

        Raises:
            BadReply: if the reply was cut or is no such answer.
        """
        ...

    def unusable(self, reason: str) -> str:
        """The observation that stands for a step whose reply held no action."""
        ...


def prompt_set(name: str) -> PromptSet:
    """The prompt set called `name`.

    Raises:
        UsageError: if there is none.
    """
    if name == "chat":
        from leafe_gym.prompts.chat import ChatPrompts

        return ChatPrompts()
    if name == "code":
        from leafe_gym.prompts.code import CodePrompts

        return CodePrompts()
    if name == "tiny":
        from leafe_gym.prompts.tiny import TinyPrompts

        return TinyPrompts()
    if name == "tiny-multiturn":
        from leafe_gym.prompts.tiny_multiturn import TinyMultiTurnPrompts

        return TinyMultiTurnPrompts()
    raise UsageError(f"no prompts are called {name!r}; there are: chat, code, tiny, tiny-multiturn")
