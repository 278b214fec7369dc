"""Chats as token ids and sampled ids as replies, for policies that run a model in this process."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from leafe_gym.errors import ContextFull, PolicyError, PolicyUnavailable, UsageError
from leafe_gym.prompts.chat_template import ChatTemplate
from leafe_gym.prompts.thinking import is_mark, opens_thinking, split_thinking
from leafe_gym.types import Completion, Json, Message, Sampled, Sampling, Usage

_EVERY_CHAT = re.compile(r"system role|roles must alternate", re.IGNORECASE)
"""In a template's refusal: it refuses every chat of the prompt set."""


class ChatTokenizer:
    """Encodes chats as token ids and decodes sampled ids as replies.

    Attributes:
        arguments: arguments of the chat template; its date is pinned, see `ChatTemplate`.
        source: the chat template's text.
        ends: ids of the tokens that end a reply; the tokenizer's own is the first.
        window: most tokens of prompt and reply together; None if not known.

    Args:
        tokenizer: a Hugging Face tokenizer with a chat template.
        label: what the model is called in messages.
        arguments: further arguments of the chat template, such as `enable_thinking`.
        ends: ids of further tokens that end a reply.
        window: see the attribute.

    Raises:
        UsageError: for a tokenizer without a chat template or end token, a template that refuses
            a plain chat or leaves out its text, or arguments that are not a dict.
    """

    def __init__(
        self,
        tokenizer: Any,
        label: str,
        arguments: Mapping[str, Json] | None,
        ends: Sequence[int],
        window: int | None,
    ) -> None:
        if getattr(tokenizer, "chat_template", None) is None:
            raise UsageError(f"{label} has no chat template: use an instruction-tuned model")
        self._template = ChatTemplate(tokenizer, arguments)
        try:
            self._template.require_text()
        except UsageError as error:
            raise UsageError(f"{label}: {error}") from error
        self.arguments = self._template.arguments
        self.source = self._template.source
        self.window = window
        self.tokenizer = tokenizer
        self._label = label
        own = tokenizer.eos_token_id
        self.ends = tuple(dict.fromkeys(end for end in (own, *ends) if end is not None))
        if not self.ends:
            raise UsageError("neither the tokenizer nor the model names an end token")
        added = getattr(tokenizer, "added_tokens_decoder", {})
        special = {number for number, token in added.items() if token.special}
        special.update(one for one in tokenizer.all_special_ids if one is not None)
        self._special = frozenset(special)
        self._marks = frozenset(
            number for number in special if is_mark(tokenizer.convert_ids_to_tokens(number))
        )

    def prompt(self, messages: Sequence[Message]) -> tuple[list[int], bool]:
        """Token ids of a chat up to its next reply, and whether they end inside thinking.

        Raises:
            PolicyError: if the chat template refuses the messages.
            PolicyUnavailable: if it refuses every chat of the prompt set.
        """
        try:
            text = self._template.render(messages, generate=True)
        except UsageError as error:
            kind = PolicyUnavailable if _EVERY_CHAT.search(str(error)) else PolicyError
            raise kind(f"{self._label}: {error}") from error
        return self._encode(text), opens_thinking(text)

    def fitting_prompt(
        self, messages: Sequence[Message], sampling: Sampling
    ) -> tuple[list[int], bool]:
        """Like `prompt`, for a reply of up to `sampling.max_tokens`.

        Raises:
            ContextFull: if both do not fit into the model's window.
            PolicyUnavailable: if a reply of that length leaves no room for any prompt.
            PolicyError: see `prompt`.
        """
        ids, opened = self.prompt(messages)
        if self.window is None or len(ids) + sampling.max_tokens <= self.window:
            return ids, opened
        if sampling.max_tokens >= self.window:
            raise PolicyUnavailable(
                f"{self._label}: max_tokens={sampling.max_tokens} leaves no room for a prompt in "
                f"the model's context of {self.window} tokens: use a smaller max_tokens"
            )
        raise ContextFull(
            f"{self._label}: a prompt of {len(ids)} tokens and a reply of up to "
            f"{sampling.max_tokens} do not fit into its context of {self.window}: use smaller "
            "max_tokens, fewer steps or a model with more context"
        )

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the prompt for `messages`."""
        return len(self.prompt(messages)[0])

    def tokenize(self, messages: Sequence[Message], completion: str) -> tuple[Sequence[int], int]:
        """See `budget.Tokenizer`."""
        prompt, _ = self.prompt(messages)
        return (*prompt, *self._encode(completion), self.ends[0]), len(prompt)

    def completion(
        self,
        prompt: Sequence[int],
        ids: Sequence[int],
        *,
        opened: bool,
        ended: bool,
        stop: Sequence[str] = (),
        logprobs: Sequence[float] = (),
        return_ids: bool = False,
    ) -> Completion:
        """The reply that consists of sampled ids.

        Args:
            prompt: ids of the prompt.
            ids: sampled, with the end token if there is one.
            opened: whether the prompt ends inside thinking.
            ended: whether the reply ended; else it was cut.
            stop: texts that end a reply; they are not part of it.
            logprobs: of `ids`.
            return_ids: whether the completion holds the ids.
        """
        kept = ids[:-1] if ids and ids[-1] in self.ends else ids
        # Marks of thinking may be special tokens and must not vanish before it is separated.
        shown = [one for one in kept if one not in self._special or one in self._marks]
        text = self._decode(shown)
        for mark in stop:
            text = text.partition(mark)[0]
        reasoning, answer = split_thinking(text, opened)
        return Completion(
            text=answer,
            reasoning=reasoning,
            finish_reason="stop" if ended else "length",
            usage=Usage(prompt_tokens=len(prompt), completion_tokens=len(ids)),
            sampled=Sampled(prompt_ids=tuple(prompt), ids=tuple(ids), logprobs=tuple(logprobs))
            if return_ids
            else None,
        )

    def tail(self, ids: Sequence[int]) -> str:
        """The text of the newest ids of a reply, special tokens included."""
        return self._decode(ids)

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _decode(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(
            list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text


def context_window(config: Any) -> int | None:
    """Most tokens that a model's configuration allows; composite ones name it for their text."""
    inner = config
    if callable(getattr(config, "get_text_config", None)):
        inner = config.get_text_config(decoder=True)
    for part in (inner, getattr(config, "text_config", None), config):
        for name in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
            if isinstance(found := getattr(part, name, None), int) and found > 0:
                return found
    return None
