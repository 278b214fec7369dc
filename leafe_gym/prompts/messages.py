"""Forms of a chat that some chat templates need."""

from __future__ import annotations

from collections.abc import Sequence

from leafe_gym.types import Message

NOTHING = "(empty)"
"""Stands for a message without text, where a chat template or server refuses one."""


def without_system(messages: Sequence[Message]) -> list[Message]:
    r"""The chat with its system text at the start of the first user turn.

    For templates that refuse the role "system". A chat without a system turn, or with nothing
    after it, keeps its turns; then the system text is a user turn.

    Example:
        >>> without_system([{"role": "system", "content": "a"}, {"role": "user", "content": "b"}])
        [{'role': 'user', 'content': 'a\n\nb'}]
    """
    if not messages or messages[0]["role"] != "system":
        return list(messages)
    system, *rest = messages
    if not rest or rest[0]["role"] != "user":
        return [{"role": "user", "content": system["content"]}, *rest]
    first: Message = {"role": "user", "content": f"{system['content']}\n\n{rest[0]['content']}"}
    return [first, *rest[1:]]


def without_blanks(messages: Sequence[Message]) -> list[Message]:
    """The chat with `NOTHING` in every message that has no text, such as an empty reply.

    Example:
        >>> without_blanks([{"role": "assistant", "content": " "}])
        [{'role': 'assistant', 'content': '(empty)'}]
    """
    return [
        message if message["content"].strip() else {"role": message["role"], "content": NOTHING}
        for message in messages
    ]
