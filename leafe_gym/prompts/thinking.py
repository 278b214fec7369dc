"""Telling a model's thinking from its answer.

Where thinking begins depends on the chat template: some models write the opening mark themselves,
some templates write it at the end of the prompt, so that the reply begins inside the block.
"""

from __future__ import annotations

import re

BLOCKS = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("<|channel>thought", "<channel|>"),
)
"""Opening and closing mark of a thinking block."""
CHANNEL_MARKS = ("<|start|>", "<|channel|>", "<|message|>", "<|end|>")
"""Marks of replies in channels (gpt-oss)."""
MARKS = frozenset(mark for block in BLOCKS for mark in block) | set(CHANNEL_MARKS)
"""Texts that must be left in a reply until its thinking is separated; tokenizers may treat them as
special tokens. `<|channel>` alone is one for Gemma."""
_CHANNEL = re.compile(
    r"(?:<\|start\|>assistant)?<\|channel\|>(\w+)(?:(?!<\|message|<\|channel).)*+<\|message\|>"
    r"(.*?)(?:<\|end\|>|\Z)",
    re.DOTALL,
)


def is_mark(token: str) -> bool:
    """Whether a special token takes part in marking thinking."""
    return token in MARKS or token == "<|channel>"


def opens_thinking(prompt: str) -> bool:
    r"""Whether a rendered prompt ends inside a thinking block that it has just opened.

    Example:
        >>> opens_thinking("<|im_start|>assistant\n<think>\n")
        True
        >>> opens_thinking("<|im_start|>assistant\n<think>\n\n</think>\n\n")
        False
    """
    tail = prompt[-40:].rstrip()
    return any(tail.endswith(opening) for opening, _ in BLOCKS)


def split_thinking(text: str, opened: bool | None = None) -> tuple[str, str]:
    r"""The thinking at the beginning of a reply ("" without any), and the answer after it.

    A reply that ends before its thinking does has an empty answer.

    Args:
        text: the reply as sampled, with its marks and without its end of turn.
        opened: whether the prompt ends inside a thinking block, see `opens_thinking`; None if it is
            not known: then a closing mark without an opening one ends the thinking.

    Example:
        >>> split_thinking("<think>\nup?\n</think>\n\nAction: up")
        ('up?', 'Action: up')
        >>> split_thinking("up?\n</think>\n\nAction: up", opened=True)
        ('up?', 'Action: up')
    """
    if not opened and (parts := _channels(text)):
        return parts
    start = text.lstrip()
    for opening, closing in BLOCKS:
        if start.startswith(opening):
            return _cut(start.removeprefix(opening), closing)
    if opened:
        closings = [closing for _, closing in BLOCKS if closing in text]
        first = min(closings, key=text.index, default=BLOCKS[0][1])
        return _cut(text, first)
    for opening, closing in BLOCKS if opened is None else ():
        before, found, _ = text.partition(closing)
        if found and opening not in before:
            return _cut(text, closing)
    return "", text


def _cut(text: str, closing: str) -> tuple[str, str]:
    inside, _, after = text.partition(closing)
    return inside.strip("\n"), after.lstrip("\n")


def _channels(text: str) -> tuple[str, str] | None:
    """Thinking and answer of a reply in channels; None if it is in none."""
    found = _CHANNEL.findall(text) if text.lstrip().startswith("<|channel|>") else []
    if not found:
        return None
    thought = [said for channel, said in found if channel != "final"]
    answer = [said for channel, said in found if channel == "final"]
    return "\n".join(thought), "".join(answer)
