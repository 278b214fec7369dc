"""The small model as a policy: concurrent requests are answered in one batch.

Acting prompts are short and repeat, so the probabilities of the next word are cached for each.
Longer prompts are decoded side by side with a key-value cache. A reply depends on its prompt and
seed only: each request has its own random generator, and rows of a batch do not attend to each
other.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils.rnn import pad_sequence

from leafe_gym._models import refuse_pickled_adapter
from leafe_gym._optional import require
from leafe_gym.errors import PolicyError, UsageError
from leafe_gym.prompts.tiny import ACTIONS
from leafe_gym.tiny.words import ASSISTANT, END, USER, World, vocabulary
from leafe_gym.types import Completion, Message, Sampling, Usage

SHIPPED = Path(__file__).with_name("weights")
"""One folder a base."""
SHORT = 40
"""Next-word probabilities are cached for prompts of up to this many tokens."""
CACHED = 300_000
"""Most cached prompts; about 200 bytes each."""
_BATCH = 2048
_LIKELY = 1e-7
"""Words less likely than this are left out of the cache."""

TokenIds = tuple[int, ...]


@dataclass(slots=True)
class _Request:
    prompt: TokenIds
    sampling: Sampling
    future: asyncio.Future[Completion]
    said: list[int] = field(default_factory=list)
    rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.sampling.seed)

    @property
    def done(self) -> bool:
        ended = bool(self.said) and self.said[-1] == vocabulary()[END]
        return ended or len(self.said) >= self.sampling.max_tokens

    def say(self, words: NDArray[np.int64], chances: NDArray[np.float64]) -> None:
        """Add a word drawn from `chances`, which need not sum to 1."""
        temperature = self.sampling.temperature
        if temperature == 0:
            self.said.append(int(words[chances.argmax()]))
            return
        if temperature != 1:
            chances = chances ** (1 / temperature)
        edges = chances.cumsum()
        at = int(np.searchsorted(edges, self.rng.random() * edges[-1], side="right"))
        self.said.append(int(words[min(at, len(words) - 1)]))


class TinyPolicy:
    """The package's small model as a policy, answering concurrent requests in one batch.

    Attributes:
        name: "tiny:" and a hash of the weights.
        network: the model.
        world: the rooms it knows.
        prompts: the prompt set that agents use with it by default; the
            network's configuration names it.

    Args:
        network: a causal model over the words of `tiny.words`.
    """

    def __init__(self, network: Any) -> None:
        self.name = f"tiny:{_fingerprint(network)}"
        self.prompts: str = getattr(network.config, "prompts", "tiny")
        self.world = World.read(getattr(network.config, "world", None))
        self.network = network.eval()
        self._cached: dict[TokenIds, tuple[NDArray[np.int64], NDArray[np.float64]]] = {}
        self._waiting: list[_Request] = []

    @classmethod
    def load(
        cls, folder: str | Path, device: str = "cpu", adapter: str | Path | None = None
    ) -> TinyPolicy:
        """The model saved in a folder.

        Args:
            folder: where it is.
            device: where to compute.
            adapter: folder of a LoRA adapter for it, which is merged into it.

        Raises:
            PolicyError: if there is none.
            MissingExtra: with an adapter, without peft.
        """
        from transformers import Qwen2ForCausalLM
        from transformers.utils import logging

        logging.disable_progress_bar()  # nothing this small needs one
        try:
            network: Any = Qwen2ForCausalLM.from_pretrained(
                str(folder), dtype=torch.float32, use_safetensors=True
            )
            if adapter is not None:
                refuse_pickled_adapter(adapter)
                peft = require("peft", "train", "a LoRA adapter")
                network = peft.PeftModel.from_pretrained(network, str(adapter)).merge_and_unload()
        except (OSError, ValueError, RuntimeError) as error:
            raise PolicyError(f"no small model in {folder}: {error}") from error
        return cls(network.to(device))

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """See `Policy.complete`.

        Raises:
            PolicyError: if a word of the prompt is not the model's.
        """
        loop = asyncio.get_running_loop()
        request = _Request(self._prompt(messages), sampling, loop.create_future())
        self._waiting.append(request)
        if len(self._waiting) == 1:
            loop.call_soon(self._answer)
        return await request.future

    def tokenize(self, messages: Sequence[Message], completion: str) -> tuple[Sequence[int], int]:
        """See `budget.Tokenizer`."""
        prompt = self._prompt(messages)
        said = [self.world.words[word] for word in completion.split()]
        return (*prompt, *said, vocabulary()[END]), len(prompt)

    def chances(self, ids: NDArray[np.int64], temperature: float = 1.0) -> NDArray[np.float64]:
        """The chance that the reply to each prompt is exactly an action; [prompts, 4].

        The four replies are read in one pass, side by side behind the prompt: each sees the
        prompt and itself, so that the chance of ending the reply there is known too.
        """
        count, length = ids.shape
        width = length + len(ACTIONS)
        sees = torch.ones(width, width, dtype=torch.bool).tril()
        sees[length:, length:] = torch.eye(len(ACTIONS), dtype=torch.bool)
        sees, place = self._here(sees), self._here(torch.arange(width).clamp(max=length))
        actions = self._here(torch.tensor(self._actions))
        found: list[NDArray[np.float64]] = []
        with torch.inference_mode():
            for at in range(0, count, _BATCH):
                prompts = self._here(torch.from_numpy(ids[at : at + _BATCH]))
                rows = len(prompts)
                hidden = self.network.model(
                    torch.cat([prompts, actions.expand(rows, -1)], dim=1),
                    attention_mask=sees.expand(rows, 1, width, width),
                    position_ids=place.expand(rows, -1),
                    use_cache=False,
                ).last_hidden_state[:, length - 1 :]
                logits = self.network.lm_head(hidden).double() / temperature
                likely = torch.softmax(logits, dim=-1)
                end = likely[:, 1:, vocabulary()[END]]
                found.append((likely[:, 0, actions] * end).cpu().numpy())
        return np.concatenate(found)

    def next_word(self, ids: NDArray[np.int64], temperature: float = 1.0) -> NDArray[np.float64]:
        """The chance of each word right after each prompt, all equally long; [prompts, words]."""
        found: list[NDArray[np.float64]] = []
        with torch.inference_mode():
            for at in range(0, len(ids), _BATCH):
                hidden = self.network.model(
                    self._here(torch.from_numpy(ids[at : at + _BATCH])), use_cache=False
                ).last_hidden_state[:, -1]
                logits = self.network.lm_head(hidden).double() / temperature
                likely = torch.softmax(logits, dim=-1)
                found.append(likely.cpu().numpy())
        return np.concatenate(found)

    def _here(self, values: torch.Tensor) -> torch.Tensor:
        return values.to(self.network.device)

    @cached_property
    def _actions(self) -> list[int]:
        return [vocabulary()[action] for action in ACTIONS]

    def _prompt(self, messages: Sequence[Message]) -> TokenIds:
        words = self.world.words
        ids: list[int] = []
        try:
            for message in messages:
                ids.append(words[ASSISTANT if message["role"] == "assistant" else USER])
                ids += [words[word] for word in message["content"].split()]
                if message["role"] == "assistant":
                    ids.append(words[END])
        except KeyError as error:
            room = self.world.room
            raise PolicyError(
                f"{self.name} does not know {error.args[0]!r}: it reads prompts of the set "
                f"{self.prompts!r} about rooms of {room}x{room} cells; ask for them by "
                f"size={room + 2}, boxes={self.world.boxes}, max_steps={self.world.steps}, on the "
                f"command line -s size={room + 2} -s boxes={self.world.boxes} "
                f"-s max_steps={self.world.steps}"
            ) from None
        return (*ids, words[ASSISTANT])

    def _answer(self) -> None:
        """Answer all that waits."""
        requests, self._waiting = self._waiting, []
        requests = [request for request in requests if not request.future.done()]
        try:
            with torch.inference_mode():
                self._decode_short([r for r in requests if len(r.prompt) <= SHORT])
                self._decode_long([r for r in requests if len(r.prompt) > SHORT])
        except Exception as error:  # noqa: BLE001 - torch raises many kinds; all mean no answer
            for request in requests:
                if not request.future.done():
                    request.future.set_exception(PolicyError(f"{self.name}: {error}"))
            return
        names = list(self.world.words)
        for request in requests:
            if not request.future.done():
                request.future.set_result(_completion(request, names))

    def _decode_short(self, requests: list[_Request]) -> None:
        active = [request for request in requests if not request.done]
        while active:
            heads = [(*request.prompt, *request.said) for request in active]
            self._learn({head for head in heads if head not in self._cached})
            for request, head in zip(active, heads, strict=True):
                request.say(*self._cached[head])
            active = [request for request in active if not request.done]

    def _learn(self, heads: set[TokenIds]) -> None:
        """Cache the probabilities of the next word after each prefix."""
        if len(self._cached) + len(heads) > CACHED:
            self._cached.clear()
        lengths: dict[int, list[TokenIds]] = {}
        for head in heads:
            lengths.setdefault(len(head), []).append(head)
        for group in lengths.values():
            for head, row in zip(group, self.next_word(np.array(group)), strict=True):
                words = np.flatnonzero(row > _LIKELY)
                self._cached[head] = words, row[words]

    def _decode_long(self, requests: list[_Request]) -> None:
        requests.sort(key=lambda request: len(request.prompt))  # less padding
        for at in range(0, len(requests), 256):
            self._decode_together([r for r in requests[at : at + 256] if not r.done])

    def _decode_together(self, requests: list[_Request]) -> None:
        if not requests:
            return
        prompts = [torch.tensor(request.prompt) for request in requests]
        ids = self._here(pad_sequence(prompts, batch_first=True, padding_side="left"))
        mask = self._here(
            pad_sequence(
                [torch.ones_like(p) for p in prompts], batch_first=True, padding_side="left"
            )
        )
        everything = np.arange(len(self.world.words))
        cache = None
        place = (mask.cumsum(dim=1) - 1).clamp(min=0)
        while True:
            out = self.network(
                input_ids=ids,
                attention_mask=mask,
                position_ids=place,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            cache = out.past_key_values
            likely = torch.softmax(out.logits[:, -1].double(), dim=-1).cpu().numpy()
            for request, row in zip(requests, likely, strict=True):
                if not request.done:
                    request.say(everything, row)
            if all(request.done for request in requests):
                return
            ids = self._here(torch.tensor([[request.said[-1]] for request in requests]))
            mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
            place = place[:, -1:] + 1


def _fingerprint(network: Any) -> str:
    digest = hashlib.blake2b(digest_size=6)
    for parameter in network.parameters():
        digest.update(parameter.detach().contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()


def tiny_policy(
    kind: str = "blind", *, model: str | Path | None = None, adapter: str | Path | None = None
) -> TinyPolicy:
    """The small model of the package; the policy "tiny".

    Args:
        kind: "blind", see `tiny.demonstrator`; or "multiturn", the same with a history.
        model: folder of one that was trained further, in place of `kind`.
        adapter: folder of a LoRA adapter for it.

    Raises:
        UsageError: if there is no such base.
        PolicyError: if there is no small model, or no adapter for it, in the folder.
        MissingExtra: with an adapter, without peft.
    """
    if model is not None:
        return TinyPolicy.load(model, adapter=adapter)
    known = sorted(folder.name for folder in SHIPPED.iterdir() if folder.is_dir())
    if kind not in known:
        raise UsageError(f"kind={kind!r}: use one of {', '.join(known)}")
    return TinyPolicy.load(SHIPPED / kind, adapter=adapter)


def _completion(request: _Request, names: Sequence[str]) -> Completion:
    end = vocabulary()[END]
    stopped = bool(request.said) and request.said[-1] == end
    words = request.said[:-1] if stopped else request.said
    return Completion(
        text=" ".join(names[word] for word in words),
        finish_reason="stop" if stopped else "length",
        usage=Usage(prompt_tokens=len(request.prompt), completion_tokens=len(request.said)),
    )
