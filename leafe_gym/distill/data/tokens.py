"""A row as token ids, with the loss on the target and on nothing else.

Chat templates differ: Qwen3's strips the thinking of earlier turns, Llama 3.1's prints a date,
others trim. Each row is therefore rendered twice, the prompt alone and with the reply; the target
is the difference. This is verified: where the template changes the reply, or the prompt's tokens
are not a prefix of the whole row's, the prompt, the exact reply and the template's end of turn are
tokenised separately, which are the tokens that the model read and generated.

Text of an environment never becomes a control token: `<|im_end|>` in an observation is tokenised
as ordinary letters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from leafe_gym._optional import require
from leafe_gym.arguments import require_instance
from leafe_gym.distill.data.export import DATE, encodable
from leafe_gym.distill.data.row_types import Encoded, Row
from leafe_gym.errors import UsageError
from leafe_gym.store.records import checksum, dump
from leafe_gym.types import Json, Message

_PROBE = "\ue000reply\ue001"
"""Placeholder of a reply, to find the template's text around it."""
_OPEN, _CLOSE = "\ue002", "\ue003"
"""Delimiters of the number that replaces text like a control token during rendering."""
_CLOCK = "{%- macro strftime_now(format) -%}{{- pinned_date -}}{%- endmacro -%}"


def load_tokenizer(tokenizer: Any) -> Any:
    """The tokenizer itself, or the one stored at a path.

    Raises:
        MissingExtra: if a path is given and transformers is not installed.
        UsageError: if there is no tokenizer at the path, or it has no chat template.
    """
    if isinstance(tokenizer, str) or hasattr(tokenizer, "__fspath__"):
        transformers = require("transformers", "train", "a tokenizer")
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(str(tokenizer))
        except (OSError, ValueError) as error:
            first = str(error).strip().splitlines()[0]
            raise UsageError(
                f"{tokenizer}: no tokenizer can be loaded from there: {first}"
            ) from None
    if not hasattr(tokenizer, "apply_chat_template"):
        raise UsageError(f"tokenizer={tokenizer!r}: expected a Hugging Face tokenizer or its path")
    if not getattr(tokenizer, "chat_template", None):
        raise UsageError(
            f"the tokenizer {getattr(tokenizer, 'name_or_path', '') or type(tokenizer).__name__} "
            "has no chat template, so it does not say how a chat becomes text; use that of an "
            "instruction-tuned model, or set tokenizer.chat_template"
        )
    return tokenizer


def encode(
    row: Row, tokenizer: Any, max_length: int | None = None, *, date: str = DATE
) -> Encoded | None:
    """The row as token ids; None if it is longer than `max_length` tokens.

    Args:
        row: a training row.
        tokenizer: a Hugging Face tokenizer with a chat template.
        max_length: >= 2, or None for no limit. Rows are never truncated: the
            model would be trained on another prompt than it acted on.
        date: given to templates that print today's.

    Raises:
        UsageError: if the tokenizer has no chat template or its template refuses the chat.
    """
    require_instance("row", row, Row)
    require_instance("date", date, str)
    return Encoder(tokenizer, max_length, date=date).encode(row)


class Encoder:
    """`encode` for many rows, with counts of special cases.

    Attributes:
        too_long: rows that were longer than `max_length`.
        separate: rows whose reply the template writes differently, or whose tokens merge across
            its beginning, so that prompt and reply were tokenised one after the other.
        disarmed: rows in which text that looks like a control token was tokenised as letters.
    """

    def __init__(self, tokenizer: Any, max_length: int | None = None, *, date: str = DATE) -> None:
        if max_length is not None and (type(max_length) is not int or max_length < 2):
            raise UsageError(f"max_length={max_length!r}: expected a whole number >= 2, or None")
        self._tokenizer = load_tokenizer(tokenizer)
        self._max_length, self._date = max_length, date
        self.too_long = self.separate = self.disarmed = 0
        added = getattr(self._tokenizer, "added_tokens_decoder", {})
        special = {str(token) for token in self._tokenizer.all_special_tokens}
        special |= {str(token) for token in added.values() if token.special}
        every = special | {str(token) for token in added.values()}
        self._control = set(self._tokenizer.convert_tokens_to_ids(sorted(every)))
        # A model's own turns may hold tokens that only mark their text, such as <think>.
        self._hidden_from = {"assistant": _any_of(special), "": _any_of(every)}
        self._end: str | None = None
        # Some versions of transformers let no caller replace the clock that templates read.
        template = str(self._tokenizer.get_chat_template())
        self._template = _CLOCK + template if "strftime_now" in template else template

    def encode(self, row: Row) -> Encoded | None:
        """See `encode`."""
        hidden: list[str] = []
        prompt: list[Message] = [
            {"role": turn["role"], "content": self._hide(turn["content"], turn["role"], hidden)}
            for turn in row.prompt
        ]
        target = self._hide(row.target, "assistant", hidden)
        self.disarmed += bool(hidden)
        head = self._render(prompt, generate=True)
        whole = self._render([*prompt, {"role": "assistant", "content": target}], generate=False)
        first = self._ids(head, hidden)
        ids: list[int] = []
        if whole.startswith(head + target):
            ids = self._ids(whole, hidden)
        if not ids or ids[: len(first)] != first:
            self.separate += 1
            ids = first + self._ids(target + self._end_of_turn(), hidden)
        if self._max_length is not None and len(ids) > self._max_length:
            self.too_long += 1
            return None
        return Encoded(ids=tuple(ids), target_start=len(first), kind=row.kind, task=row.task)

    def about(self) -> dict[str, Json]:
        """Tokenizer and settings that determine the ids, as JSON."""
        return {
            "name": str(getattr(self._tokenizer, "name_or_path", "")),
            "size": len(self._tokenizer),
            "template_hash": checksum(self._template),
            "vocabulary_hash": checksum(dump(self._tokenizer.get_vocab())),
            "date": self._date,
            "max_length": self._max_length,
        }

    def _render(self, messages: Sequence[Message], *, generate: bool) -> str:
        try:
            text: str = self._tokenizer.apply_chat_template(
                list(messages),
                tokenize=False,
                add_generation_prompt=generate,
                chat_template=self._template,
                date_string=self._date,
                pinned_date=self._date,
            )
        except Exception as error:  # a template may raise anything
            raise UsageError(
                f"the tokenizer's chat template refuses the chat: {type(error).__name__}: {error}"
            ) from error
        return text

    def _end_of_turn(self) -> str:
        """What the template writes after a reply."""
        if self._end is None:
            asked: list[Message] = [{"role": "user", "content": "?"}]
            whole = self._render([*asked, {"role": "assistant", "content": _PROBE}], generate=False)
            _, found, self._end = whole.rpartition(_PROBE)
            if not found:
                raise UsageError(
                    "the tokenizer's chat template does not write what an assistant says, so no "
                    "target can be found in it; use another template"
                )
        return self._end

    def _hide(self, content: str, role: str, hidden: list[str]) -> str:
        """`content` with the look-alikes of control tokens numbered, for `_ids` to spell out."""

        def number(found: re.Match[str]) -> str:
            hidden.append(found[0])
            return f"{_OPEN}{len(hidden) - 1}{_CLOSE}"

        pattern = self._hidden_from.get(role, self._hidden_from[""])
        return pattern.sub(number, encodable(content))

    def _ids(self, text: str, hidden: Sequence[str]) -> list[int]:
        if not hidden:
            return self._plain(text)
        ids: list[int] = []
        before, *rest = text.split(_OPEN)
        ids += self._plain(before)
        for part in rest:
            number, _, after = part.partition(_CLOSE)
            ids += self._spelled(hidden[int(number)])
            ids += self._plain(after)
        return ids

    def _plain(self, text: str) -> list[int]:
        if not text:
            return []
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _spelled(self, text: str) -> list[int]:
        """Ids of a control token's name as ordinary letters."""
        ids = self._plain(text[:1]) + self._plain(text[1:])
        if self._control & set(ids):
            ids = [i for letter in text for i in self._plain(letter) if i not in self._control]
        return ids


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """Finds any of `texts`, the longest first, and the sign that hides them."""
    ordered = sorted(texts, key=lambda text: (-len(text), text))
    return re.compile("|".join(map(re.escape, [*ordered, _OPEN])))
