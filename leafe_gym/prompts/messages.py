"""Forms of a chat that some chat templates need."""

from __future__ import annotations

from collections.abc import Sequence

from leafe_gym.types import Message


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
