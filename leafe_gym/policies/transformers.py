"""Any Hugging Face causal language model as a policy, in process, on CPU or GPU.

Requests that wait at the same moment form one batch, padded on the left, with a key-value cache.
Each request has its own random generator, so a reply depends on its prompt and seed and not on the
batch, up to the rounding of the model's kernels: in float32 on a CPU about 1e-6 of a probability;
in half precision on a GPU a near tie between two tokens may be decided differently.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from leafe_gym._optional import require
from leafe_gym.errors import PolicyError, PolicyUnavailable, UsageError
from leafe_gym.prompts.base import PromptSource
from leafe_gym.types import Completion, Message, Sampling, Usage

STOP_WINDOW = 32
"""Number of the newest tokens that are searched for stop strings."""
_NO_ROLE = re.compile(r"system role|roles must alternate", re.IGNORECASE)


@dataclass(slots=True, eq=False)
class _Request:
    prompt: list[int]
    sampling: Sampling
    future: asyncio.Future[Completion]
    tokens: list[int] = field(default_factory=list)
    ended: bool = False
    rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.sampling.seed)

    @property
    def done(self) -> bool:
        """Whether no token is needed any more; also once its caller was cancelled."""
        long_enough = len(self.tokens) >= self.sampling.max_tokens
        return self.ended or long_enough or self.future.cancelled()


class TransformersPolicy:
    """See the module.

    Attributes:
        name: the model and a fingerprint of its weights, template and settings.

    Args:
        network: a causal language model of transformers, on its device.
        tokenizer: its tokenizer, with a chat template.
        label: what the model is called.
        stop: texts that end a reply; they are not part of it.
        max_batch: most requests of a batch; halved automatically when memory runs out.
        template: further arguments of the chat template, such as `enable_thinking`.
        prompts: the only prompt set that the model knows, if there is one.

    Raises:
        UsageError: for an argument of another type or range, or a tokenizer without a chat
            template or end token.
    """

    def __init__(
        self,
        network: Any,
        tokenizer: Any,
        *,
        label: str = "model",
        stop: Sequence[str] = (),
        max_batch: int = 64,
        template: Mapping[str, Any] | None = None,
        prompts: PromptSource | None = None,
    ) -> None:
        if type(max_batch) is not int or max_batch < 1:
            raise UsageError(f"max_batch={max_batch!r}: expected a whole number >= 1")
        if isinstance(stop, str) or not all(isinstance(text, str) and text for text in stop):
            raise UsageError(f"stop={stop!r}: expected a list of texts")
        if template is not None and not isinstance(template, Mapping):
            raise UsageError(f"template={template!r}: expected a dict of template arguments")
        if getattr(tokenizer, "chat_template", None) is None:
            raise UsageError(f"{label} has no chat template: use an instruction-tuned model")
        self.network = network.eval()
        self.prompts = prompts
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._max_batch = max_batch
        self._template = dict(template or {})
        self._ends = _end_tokens(network, tokenizer)
        self._room = int(getattr(network.config, "max_position_embeddings", 0) or 10**9)
        self._waiting: list[_Request] = []
        self._worker: asyncio.Task[None] | None = None
        settings = repr((self._stop, sorted(self._template.items()), tokenizer.chat_template))
        self.name = f"transformers:{label}:{_fingerprint(network, settings)}"

    @classmethod
    def load(
        cls,
        model: str | Path,
        *,
        device: str | None = None,
        dtype: str = "auto",
        **options: Any,
    ) -> TransformersPolicy:
        """A model by its name on the hub, or from a folder.

        Args:
            model: the name or folder.
            device: such as "cuda:1"; default a GPU where there is one.
            dtype: such as "bfloat16"; "auto" for the one the weights are saved in.
            **options: see the class.

        Raises:
            MissingExtra: without transformers.
            PolicyUnavailable: if there is no such model, or it cannot be loaded.
            UsageError: see the class.
        """
        if not isinstance(model, str | Path) or not str(model):
            raise UsageError(f"model={model!r}: expected the name of a model or a folder")
        library = require("transformers", "train")
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            tokenizer = library.AutoTokenizer.from_pretrained(str(model))
            network = library.AutoModelForCausalLM.from_pretrained(str(model), dtype=dtype)
            network = network.to(device)
        except Exception as error:  # a damaged file may raise anything
            raise PolicyUnavailable(
                f"cannot load the model {model} on {device}: {type(error).__name__}: {error}"
            ) from error
        return cls(network, tokenizer, label=Path(model).name, **options)

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """See `Policy.complete`.

        Raises:
            PolicyError: if the chat template refuses the messages, prompt and reply do not fit
                into the model's context, memory runs out with a single request, or decoding
                fails.
            PolicyUnavailable: if the chat template refuses every chat of the prompt set.
        """
        prompt = self._prompt(messages)
        if len(prompt) + sampling.max_tokens > self._room:
            raise PolicyError(
                f"{self.name}: a prompt of {len(prompt)} tokens and a reply of up to "
                f"{sampling.max_tokens} do not fit into its context of {self._room}: use smaller "
                "max_tokens, fewer steps or a model with more context"
            )
        request = _Request(prompt, sampling, asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await request.future

    def tokenize(self, messages: Sequence[Message], completion: str) -> tuple[Sequence[int], int]:
        """See `budget.Tokenizer`."""
        prompt = self._prompt(messages)
        reply = self._tokenizer(completion, add_special_tokens=False)["input_ids"]
        return (*prompt, *reply, self._ends[0]), len(prompt)

    def _prompt(self, messages: Sequence[Message]) -> list[int]:
        try:
            ids: list[int] = self._tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                add_generation_prompt=True,
                return_dict=True,
                **self._template,
            )["input_ids"]
        except Exception as error:  # a template is a program and may raise anything
            kind = PolicyUnavailable if _NO_ROLE.search(str(error)) else PolicyError
            raise kind(f"{self.name}: its chat template refused: {error}") from error
        return ids

    async def _work(self) -> None:
        """Answer all waiting requests, batch after batch."""
        await asyncio.sleep(0)  # requests that become ready at the same moment join the batch
        while self._waiting:
            batch = self._waiting[: self._max_batch]
            del self._waiting[: self._max_batch]
            batch = [request for request in batch if not request.future.done()]
            if not batch:
                continue
            try:
                await asyncio.to_thread(self._decode, batch)
                for request in batch:
                    if not request.future.done():
                        request.future.set_result(self._completion(request))
            except torch.OutOfMemoryError as error:
                self._split(batch, error)
            except Exception as error:  # noqa: BLE001 - torch and tokenizers raise many kinds
                self._fail(batch, f"{type(error).__name__}: {error}")

    def _split(self, batch: list[_Request], error: Exception) -> None:
        """Put a batch that was too large back into the queue, with half the batch size."""
        torch.cuda.empty_cache()
        if len(batch) == 1:
            self._fail(batch, f"out of memory with a single request: {error}")
            return
        self._max_batch = len(batch) // 2
        fresh = [_Request(r.prompt, r.sampling, r.future) for r in batch]
        self._waiting = fresh + self._waiting

    def _fail(self, batch: list[_Request], reason: str) -> None:
        for request in batch:
            if not request.future.done():
                request.future.set_exception(PolicyError(f"{self.name}: {reason}"))

    @torch.inference_mode()
    def _decode(self, requests: list[_Request]) -> None:
        device = self.network.device
        width = max(len(request.prompt) for request in requests)
        pads = [width - len(request.prompt) for request in requests]
        ids = torch.tensor(
            [[self._ends[0]] * pad + r.prompt for pad, r in zip(pads, requests, strict=True)],
            device=device,
        )
        mask = torch.tensor([[0] * pad + [1] * (width - pad) for pad in pads], device=device)
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        cache = None
        while not all(request.done for request in requests):
            out = self.network(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            cache = out.past_key_values
            drawn = _drawn(out.logits[:, -1], requests)
            for request, token in zip(requests, drawn.tolist(), strict=True):
                if not request.done:
                    self._append(request, token)
            ids = drawn[:, None]
            mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
            positions = positions[:, -1:] + 1

    def _append(self, request: _Request, token: int) -> None:
        request.tokens.append(token)
        request.ended = token in self._ends
        if self._stop and not request.ended:
            tail = self._tokenizer.decode(request.tokens[-STOP_WINDOW:])
            request.ended = any(stop in tail for stop in self._stop)

    def _completion(self, request: _Request) -> Completion:
        tokens = request.tokens
        kept = tokens[:-1] if tokens and tokens[-1] in self._ends else tokens
        text = self._tokenizer.decode(kept, skip_special_tokens=True)
        for stop in self._stop:
            text = text.partition(stop)[0]
        return Completion(
            text=text,
            finish_reason="stop" if request.ended else "length",
            usage=Usage(prompt_tokens=len(request.prompt), completion_tokens=len(request.tokens)),
        )


def _drawn(logits: torch.Tensor, requests: list[_Request]) -> torch.Tensor:
    """The next token of each request; [requests]."""
    best: torch.Tensor = logits.argmax(dim=-1)
    temperature = torch.tensor([r.sampling.temperature for r in requests], device=logits.device)
    if not bool((temperature > 0).any()):
        return best
    # Double precision: over a large vocabulary a sum in single precision loses the rare tokens.
    scaled = logits.double() / temperature.clamp(min=1e-6).double()[:, None]
    cumulative = torch.softmax(scaled, dim=-1).cumsum(dim=-1)
    uniform = torch.tensor(
        [0.0 if request.done else request.rng.random() for request in requests],
        dtype=torch.float64,
        device=logits.device,
    )
    at = torch.searchsorted(cumulative, uniform[:, None] * cumulative[:, -1:], right=True)
    at = at.squeeze(1).clamp(max=logits.shape[-1] - 1)
    return torch.where(temperature > 0, at, best)


def _end_tokens(network: Any, tokenizer: Any) -> tuple[int, ...]:
    found = getattr(network.generation_config, "eos_token_id", None)
    known = found if isinstance(found, list) else [found]
    ends = dict.fromkeys(end for end in (tokenizer.eos_token_id, *known) if end is not None)
    if not ends:
        raise UsageError("neither the tokenizer nor the model names an end token")
    return tuple(ends)


def _fingerprint(network: Any, settings: str) -> str:
    """Hash of the settings and of up to 64 numbers of every weight tensor."""
    digest = hashlib.blake2b(settings.encode(), digest_size=6)
    for parameter in network.parameters():
        flat = parameter.detach().reshape(-1)
        digest.update(repr((tuple(parameter.shape), str(parameter.dtype))).encode())
        digest.update(flat[:: max(1, len(flat) // 64)][:64].float().cpu().numpy().tobytes())
    return digest.hexdigest()


def transformers_policy(model: str, **options: Any) -> TransformersPolicy:
    """The policy called "transformers"; see `TransformersPolicy.load`."""
    return TransformersPolicy.load(model, **options)
