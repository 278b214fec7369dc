"""A trainer's own sampler as a policy, and the episode as the token ids it trains on.

Trainers such as verl and TRL generate from token ids and want an episode back as one sequence with
a mask. This policy sits between them and an agent: the agent talks in chat messages, the trainer in
tokens. What the model said is kept as the ids it said, never tokenised again, so that the trained
tokens are the sampled ones. As on a server, text of an environment that looks like a control token
becomes one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from leafe_gym.errors import PolicyError, UsageError
from leafe_gym.types import Completion, Message, Sampling, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """What a trainer's sampler answers.

    Attributes:
        ids: tokens of the reply, the one that ends it included.
        logprobs: of each; [len(ids)], or None.
    """

    ids: Sequence[int]
    logprobs: Sequence[float] | None = None


Generate = Callable[[list[int], Sampling], Awaitable[Generated]]
"""`await f(prompt ids, sampling)`: one reply."""


class ExternalSamplerPolicy:
    """One episode; make another for the next.

    Attributes:
        prompt_ids: tokens of the first prompt.
        response_ids: all tokens after it: replies, and what the environment said between them.
        mask: 1 for tokens of replies, 0 for the environment's; [len(response_ids)].
        logprobs: of each token of `response_ids`, 0.0 where the environment spoke; None if the
            sampler gives none.
        turns: replies.

    Args:
        generate: the trainer's sampler.
        tokenizer: a Hugging Face tokenizer with a chat template.
        name: see `Policy`.
        prompts: the prompt set that agents use with it; its chats must only grow.

    Raises:
        UsageError: if the tokenizer has no chat template.
    """

    def __init__(
        self, generate: Generate, tokenizer: Any, *, name: str = "trainer", prompts: str = "chat"
    ) -> None:
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
            PolicyError: if the chat is no continuation of the one before, or generating fails.
        """
        self._hear(messages)
        prompt = [*self.prompt_ids, *self.response_ids]
        try:
            said = await self._generate(prompt, sampling)
        except Exception as error:
            raise PolicyError(f"policy {self.name}: {type(error).__name__}: {error}") from error
        self._say(said)
        ids = list(said.ids)
        ended = bool(ids) and ids[-1] == self._tokenizer.eos_token_id
        return Completion(
            text=self._decode(ids[:-1] if ended else ids),
            finish_reason="stop" if ended else "length",
            usage=Usage(prompt_tokens=len(prompt), completion_tokens=len(ids)),
        )

    def _hear(self, messages: Sequence[Message]) -> None:
        """Append what the chat adds to what was said so far."""
        chat = [dict(message) for message in messages]
        text = self._tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        if not text.startswith(self._text):
            raise PolicyError(
                f"policy {self.name}: the chat does not begin with the one before, so the episode "
                "is no single sequence: use one policy for one episode, a prompt set that only "
                "appends (chat), and a template that leaves earlier turns as they were"
            )
        added = self._tokenizer.encode(text[len(self._text) :], add_special_tokens=False)
        if not self.turns:
            self.prompt_ids = added
        else:
            self._append(added, 0, None)
        self._text = text

    def _say(self, said: Generated) -> None:
        self.turns += 1
        self._append(said.ids, 1, said.logprobs)
        self._text += self._decode(said.ids)

    def _decode(self, ids: Sequence[int]) -> str:
        # Exactly what was said: the chat with it in has to begin with what is kept here.
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
