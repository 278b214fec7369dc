"""What a chat template writes around a reply: its thinking, the answer and the end of the turn.

Templates differ in where thinking begins: Qwen3's prompt leaves it to the model, Qwen3.5's opens
the block, with thinking off both close an empty one, and gpt-oss has channels. All of it is read
off the template itself, by rendering placeholders.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from leafe_gym.errors import UsageError
from leafe_gym.prompts.chat_template import ASKED, ChatTemplate
from leafe_gym.prompts.thinking import BLOCKS
from leafe_gym.types import Message

_ANSWER, _THOUGHT = (f"\ue000{name}\ue001" for name in ("say", "why"))
"""Placeholders, to find the template's own text around them."""
_GLUE = {
    "<think>": ("<think>\n", "\n</think>\n\n"),
    "<|channel>thought": ("<|channel>thought\n", "\n<channel|>"),
}
"""Marks with the text that models write beside them, by the opening one: used where a template
opens thinking in its prompt, or names the mark, but does not write the thinking of a reply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyForm:
    """The text around a reply, after a prompt that ends where the model begins.

    Attributes:
        skipped: before an answer without thinking: an empty block where the template writes one.
        thinking: the text before the thinking and between it and the answer; None where the
            template has no place for thinking.
        opened: closing mark of a thinking block that the prompt itself opens; "" without one.
        end: the end of the turn.
    """

    skipped: str
    thinking: tuple[str, str] | None
    opened: str
    end: str

    def around(self, answer: str, reasoning: str) -> tuple[str, str]:
        """The template's text before the target, and the target with its end of turn.

        Where thinking is learned, the marks around it that the model writes itself are too.

        Args:
            answer: the reply; one that holds its thinking, with the marks, is left as it is.
            reasoning: the thinking, where it belongs to the target; else "".

        Raises:
            UsageError: if the template has no place for the thinking.
        """
        if not reasoning:
            if self._holds_thinking(answer):
                return "", answer + self.end
            return self.skipped, _after(self.skipped, answer) + self.end
        if self.thinking is None:
            raise UsageError(
                "a row's target holds thinking, and the tokenizer's chat template with the row's "
                "arguments has no place for it; use another target (target='reply')"
            )
        before, between = self.thinking
        thought = _after(before or "\n", reasoning)
        thought = thought.rstrip("\n") if between.startswith("\n") else thought
        return "", before + thought + between + _after(between, answer) + self.end

    def _holds_thinking(self, answer: str) -> bool:
        if self.opened:
            return self.opened in answer
        return answer.lstrip().startswith(tuple(opening for opening, _ in BLOCKS))


def _after(glue: str, text: str) -> str:
    """`text` without the line breaks that `glue` ends with already."""
    return text.lstrip("\n") if glue.endswith("\n") else text


def reply_form(template: ChatTemplate, control: re.Pattern[str]) -> ReplyForm:
    """Read off what a template writes around a reply.

    Args:
        template: with its arguments.
        control: matches any special token of the tokenizer.

    Raises:
        UsageError: if the template refuses a plain chat, leaves out text of it, or does not end a
            turn.
    """
    asked: list[Message] = [{"role": "user", "content": ASKED}]
    said: Any = {"role": "assistant", "content": _ANSWER}
    thought = dict.fromkeys(("reasoning_content", "reasoning", "thinking"), _THOUGHT)
    head = template.require_text()
    end = _end_of_turn(template, asked, control)
    before = _before(template.render([*asked, said], generate=False))
    full = _before(template.render([*asked, said | thought], generate=False))
    return _form(head, before, full, end, template.source)


def _form(head: str, before: str, full: str, end: str, source: str) -> ReplyForm:
    """The form, from what is written before a reply: by a prompt, and with and without thinking."""
    tail = head[head.rindex(ASKED) :]
    block = next(((o, c) for o, c in BLOCKS if o in tail), None)
    opened = block[1] if block and tail.rfind(block[0]) > tail.rfind(block[1]) else ""
    opening, found, between = full.partition(_THOUGHT)
    thinking: tuple[str, str] | None = None
    if found and (opening.startswith(head) or opened):
        thinking = (opening[len(head) :] if opening.startswith(head) else "", between)
    elif block and opened:
        thinking = ("", _glue(*block)[1])
    elif not found and not block:
        named = next(((o, c) for o, c in BLOCKS if o in source or c in source), None)
        thinking = _glue(*named) if named else None
    if before.startswith(head):
        skipped = before[len(head) :]
    else:
        skipped = thinking[1] if opened and thinking else ""
    return ReplyForm(skipped=skipped, thinking=thinking, opened=opened, end=end)


def _glue(opening: str, closing: str) -> tuple[str, str]:
    return _GLUE.get(opening, (opening, closing))


def _before(text: str) -> str:
    """The text before the answer."""
    return text.rpartition(_ANSWER)[0]


def _end_of_turn(template: ChatTemplate, asked: list[Message], control: re.Pattern[str]) -> str:
    """What ends a reply; for GLM-4, which writes nothing, the mark of the next turn."""
    end = template.after_reply(asked)
    if control.search(end):
        return end
    mark = control.match(template.after_reply(asked, asked))
    if mark is None:
        raise UsageError(
            "the tokenizer's chat template writes no token at the end of an assistant's turn, so a "
            "model trained with it would not learn to stop; use another template"
        )
    return mark[0]
