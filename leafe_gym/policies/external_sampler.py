"""A trainer's own sampler as a policy, and the episode as the token ids to train on.

Trainers such as verl and TRL generate from token ids and expect an episode as one sequence with a
mask. This policy converts between the agent's chat messages and the trainer's tokens. Replies are
kept as the sampled ids and never tokenized again, so the trained tokens are the sampled ones. As on
a server, environment text that looks like a control token becomes one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from leafe_gym.errors import PolicyError, UsageError
from leafe_gym.prompts.base import PromptSource
from leafe_gym.types import Completion, Message, Sampling, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """One reply of a trainer's sampler.

    Attributes:
        ids: tokens of the reply, its end token included.
        logprobs: log-probability of each; [len(ids)], or None.
    """

    ids: Sequence[int]
    logprobs: Sequence[float] | None = None


Generate = Callable[[list[int], Sampling], Awaitable[Generated]]
"""`await f(prompt ids, sampling)`: one reply."""


class ExternalSamplerPolicy:
    """A policy for one episode; make a new one for the next.

    Attributes:
        prompt_ids: tokens of the first prompt.
        response_ids: all tokens after it: replies, and the environment's turns between them.
        mask: 1 for tokens of replies, 0 for the environment's; [len(response_ids)].
        logprobs: log-probability of each token of `response_ids`, 0.0 for the environment's; None
            if the sampler gives none.
        turns: number of replies.

    Args:
        generate: the trainer's sampler.
        tokenizer: a Hugging Face tokenizer with a chat template.
        name: see `Policy`.
        prompts: the only prompt set that the model knows, if there is one; it must be
            append-only.

    Raises:
        UsageError: if the tokenizer has no chat template, or an argument has another type.
    """

    def __init__(
        self,
        generate: Generate,
        tokenizer: Any,
        *,
        name: str = "trainer",
        prompts: PromptSource | None = None,
    ) -> None:
        if not callable(generate):
            raise UsageError(f"generate={generate!r}: expected an async function of token ids")
        if not isinstance(name, str) or not name:
            raise UsageError(f"name={name!r}: expected a text")
        if getattr(tokenizer, "chat_template", None) is None:
            raise UsageError("the tokenizer has no chat template: use an instruction-tuned model's")
        self.name = name
        self.prompts = prompts
        self.prompt_ids: list[int] = []
        self.response_ids: list[int] = []
        self.mask: list[int] = []
        self.logprobs: list[float] | None = []
        self.turns = 0
        self._generate = generate
        self._tokenizer = tokenizer
        self._text = ""

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """See `Policy.complete`.

        Raises:
            PolicyError: if the chat does not continue the previous one, or sampling fails.
        """
        self._extend_prompt(messages)
        prompt = [*self.prompt_ids, *self.response_ids]
        try:
            reply = await self._generate(prompt, sampling)
        except Exception as error:
            raise PolicyError(f"policy {self.name}: {type(error).__name__}: {error}") from error
        self._append_reply(reply)
        ids = list(reply.ids)
        ended = bool(ids) and ids[-1] == self._tokenizer.eos_token_id
        return Completion(
            text=self._decode(ids[:-1] if ended else ids),
            finish_reason="stop" if ended else "length",
            usage=Usage(prompt_tokens=len(prompt), completion_tokens=len(ids)),
        )

    def _extend_prompt(self, messages: Sequence[Message]) -> None:
        """Append the tokens that the chat has beyond the previous one."""
        chat = [dict(message) for message in messages]
        text = self._tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        if not text.startswith(self._text):
            raise PolicyError(
                f"policy {self.name}: the chat does not begin with the one before, so the episode "
                "is not a single sequence: use one policy for one episode, an append-only prompt "
                "set (chat), and a template that leaves earlier turns unchanged"
            )
        added = self._tokenizer.encode(text[len(self._text) :], add_special_tokens=False)
        if not self.turns:
            self.prompt_ids = added
        else:
            self._append(added, 0, None)
        self._text = text

    def _append_reply(self, reply: Generated) -> None:
        self.turns += 1
        self._append(reply.ids, 1, reply.logprobs)
        self._text += self._decode(reply.ids)

    def _decode(self, ids: Sequence[int]) -> str:
        # Exactly as sampled: the next chat must begin with the text that is kept here.
        text: str = self._tokenizer.decode(
            list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text

    def _append(self, ids: Sequence[int], mask: int, logprobs: Sequence[float] | None) -> None:
        self.response_ids += ids
        self.mask += [mask] * len(ids)
        if mask and logprobs is None:
            self.logprobs = None
        if self.logprobs is not None:
            self.logprobs += [0.0] * len(ids) if logprobs is None else logprobs
