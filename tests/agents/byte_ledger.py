"""The ledger by its definition: every whole prompt is rendered, encoded and kept.

Slow and large; the package's own must count the same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, NamedTuple

from leafe_gym.budget import Tokenizer, as_tokens
from leafe_gym.prefixes import common_length
from leafe_gym.types import Message, Usage


class WholeSize(NamedTuple):
    """A call as a whole: `key[:head]` is the prompt."""

    key: Any
    head: int
    prompt_tokens: int
    completion_tokens: int
    reported: bool


def whole_prompt(messages: Sequence[Message]) -> bytes:
    turns = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
    return f"{turns}<|im_start|>assistant\n".encode("utf-8", "surrogatepass")


def measure_whole(
    messages: Sequence[Message],
    reply: str,
    usage: Usage,
    tokenizer: Tokenizer | None,
    encoder: object = None,
) -> WholeSize:
    """What `leafe_gym.budget.measure` measures."""
    if tokenizer is not None:
        ids, head = tokenizer(messages, reply)
        key: Any = tuple(ids)
        prompt, completion = head, len(ids) - head
    else:
        prefix, tail = whole_prompt(messages), reply.encode("utf-8", "surrogatepass")
        key, head = prefix + tail + b"<|im_end|>\n", len(prefix)
        prompt, completion = usage.prompt_tokens or as_tokens(head), as_tokens(len(tail))
    completion = max(1, usage.completion_tokens or completion)
    return WholeSize(key, head, prompt, completion, bool(usage.prompt_tokens))


class WholeMeter:
    """What `leafe_gym.budget.TokenMeter` counts; keys are sorted, so neighbours share the most."""

    def __init__(self, tokenizer: Tokenizer | None = None) -> None:
        self.tokenizer = tokenizer
        self.source = "tokenizer" if tokenizer else "bytes/4"
        self._keys: list[Any] = []

    def shared(self, size: WholeSize) -> int:
        prompt = size.key[: size.head]
        at = bisect_left(self._keys, prompt)
        near = self._keys[max(0, at - 1) : at + 1]
        longest = max((common_length(prompt, other) for other in near), default=0)
        self._keys.insert(bisect_left(self._keys, size.key), size.key)
        if self.tokenizer is not None:
            return longest
        if size.reported:
            self.source = "server, prefixes by bytes"
        return size.prompt_tokens * longest // size.head
