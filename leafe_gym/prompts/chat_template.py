"""A tokenizer's chat template, rendered alike for policies, trainers and training rows.

A template is a program: it may read the clock, refuse a system message, or take arguments such as
`enable_thinking`. Here the date is pinned, a system message that is refused moves into the first
user turn, a message without text that is refused gets one, and the arguments belong to the
template, so that two renderings of a chat are equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from leafe_gym.errors import UsageError
from leafe_gym.prompts.messages import without_blanks, without_system
from leafe_gym.types import Json, Message

DATE = "26 Jul 2024"
"""Date for templates that print today's, unless the argument `date_string` names another."""
_CLOCK = "{%- macro strftime_now(format) -%}{{- pinned_date -}}{%- endmacro -%}"
ASKED = "\ue000ask\ue001"
"""Placeholder of a user turn's text."""
_REPLY = "\ue000reply\ue001"
"""Placeholder of a reply, to find the template's own text around it."""
_SYSTEM: list[Message] = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]


class ChatTemplate:
    """Renders chats by a tokenizer's chat template.

    Attributes:
        source: the template's text.

    Args:
        tokenizer: a Hugging Face tokenizer with a chat template.
        arguments: further arguments of the template (`chat_template_kwargs`).

    Raises:
        UsageError: if `arguments` is not a dict with text keys.
    """

    def __init__(self, tokenizer: Any, arguments: Mapping[str, Json] | None = None) -> None:
        self.arguments = check_arguments(arguments)
        self._tokenizer = tokenizer
        self.source = str(tokenizer.get_chat_template())
        # Some versions of transformers let no caller replace the clock that templates read.
        self._text = _CLOCK + self.source if "strftime_now" in self.source else self.source
        self._takes_system: bool | None = None

    def render(self, messages: Sequence[Message], *, generate: bool) -> str:
        """The chat as text.

        Args:
            messages: the chat.
            generate: whether the text ends with the beginning of the next reply.

        Raises:
            UsageError: if the template refuses the chat; quotes it.
        """
        if messages and messages[0]["role"] == "system" and not self._system():
            messages = without_system(messages)
        try:
            try:
                return self._apply(messages, generate)
            except Exception:
                filled = without_blanks(messages)
                if filled == list(messages):
                    raise
                return self._apply(filled, generate)
        except Exception as error:  # a template may raise anything
            raise UsageError(
                f"the tokenizer's chat template refuses the chat: {type(error).__name__}: {error}"
            ) from error

    def require_text(self) -> str:
        """Check that the template writes the text of a user turn; returns what it made of one.

        The text of the turn is `ASKED`.

        Raises:
            UsageError: if it refuses a plain chat or leaves out the text.
        """
        head = self.render([{"role": "user", "content": ASKED}], generate=True)
        if ASKED not in head:
            raise UsageError(
                "the tokenizer's chat template does not write what a user says where it is plain "
                "text (it wants a list of parts), so the model would not see it; use another "
                "template"
            )
        return head

    def after_reply(
        self, chat: Sequence[Message], following: Sequence[Message] = (), *, generate: bool = False
    ) -> str:
        """What the template writes after the text of a reply to `chat`.

        Args:
            chat: ends in a user turn.
            following: turns after the reply.
            generate: as for `render`.

        Raises:
            UsageError: if the template refuses the chat, or does not write replies.
        """
        reply: Message = {"role": "assistant", "content": _REPLY}
        text = self.render([*chat, reply, *following], generate=generate)
        _, found, after = text.rpartition(_REPLY)
        if not found:
            raise UsageError(
                "the tokenizer's chat template does not write what an assistant says, so no reply "
                "can be found in it; use another template"
            )
        return after

    def _system(self) -> bool:
        """Whether the template takes a system message; True too where it refuses every chat."""
        if self._takes_system is None:
            self._takes_system = self._accepts(_SYSTEM) or not self._accepts(_SYSTEM[1:])
        return self._takes_system

    def _accepts(self, messages: Sequence[Message]) -> bool:
        try:
            self._apply(messages, generate=True)
        except Exception:  # noqa: BLE001 - a template may raise anything
            return False
        return True

    def _apply(self, messages: Sequence[Message], generate: bool) -> str:
        date = self.arguments.get("date_string", DATE)
        text: str = self._tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            tokenize=False,
            add_generation_prompt=generate,
            **{"date_string": date, **self.arguments},
            chat_template=self._text,
            pinned_date=date,
        )
        return text


def check_arguments(arguments: Mapping[str, Json] | None) -> dict[str, Json]:
    """The arguments of a chat template as a dict.

    Raises:
        UsageError: if they are not a dict with text keys.
    """
    if arguments is None:
        return {}
    if not isinstance(arguments, Mapping) or not all(isinstance(name, str) for name in arguments):
        raise UsageError(
            f"chat_template_kwargs={arguments!r}: expected a dict such as "
            '{"enable_thinking": False}'
        )
    return dict(arguments)
