"""A model in vLLM's engine, in this process: the policy "vllm".

The engine batches all requests that are under way, reuses what it read of earlier prompts, and
satisfies JSON schemas. It needs an environment of its own: `make vllm`.

With a temperature of 0, and with equal seeds, replies are equal up to the rounding of the kernels,
which depends on the batch: a near tie between two tokens may be decided differently.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leafe_gym._optional import require
from leafe_gym._weights import adapter_rank, weights_digest
from leafe_gym.errors import LeafeError, PolicyError, PolicyUnavailable, UsageError
from leafe_gym.policies.chat_tokenizer import ChatTokenizer
from leafe_gym.policies.engine_thread import EngineThread
from leafe_gym.prompts.base import PromptSource
from leafe_gym.types import Completion, Json, Message, Sampling

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Bounds on the rank of adapters that vLLM knows."""
CPU_ARGUMENTS: Mapping[str, Any] = {
    # A request with a seed whose prompt is read in two parts ends the engine on a CPU (0.32).
    "enable_chunked_prefill": False,
    # Prefixes are reused in whole blocks; the default for CPUs is 128 tokens.
    "block_size": 32,
    "enforce_eager": True,
}


@dataclass(frozen=True, slots=True)
class _Adapter:
    """A LoRA adapter and vLLM's request for it."""

    digest: str
    request: Any


class VLLMPolicy:
    """A model in vLLM's engine, in this process.

    Attributes:
        name: the model and a hash of its weights, adapter, template and settings.
        context_window: most tokens of prompt and reply together.
        chat_template_kwargs: arguments of the chat template. Templates that print today's date get
            a fixed one, `date_string` or else that of `leafe_gym.prompts.chat_template`.

    Args:
        model: name on the hub, or a folder.
        adapter: folder of a LoRA adapter (PEFT) for it.
        max_adapter_rank: highest rank of adapters that `use_adapter` may load; None: that of
            `adapter`, and none without it.
        tensor_parallel: GPUs that share the model.
        max_model_len: most tokens of prompt and reply together; default the model's.
        dtype: such as "bfloat16"; "auto" for the one the weights are saved in.
        stop: texts that end a reply; they are not part of it.
        structured: whether replies satisfy their JSON schema where one is known.
        chat_template_kwargs: further arguments of the chat template, such as `enable_thinking`.
        engine_arguments: further arguments of vLLM's `AsyncEngineArgs`, such as
            `{"gpu_memory_utilization": 0.6}`.
        prompts: the only prompt set that the model knows, if there is one.

    Raises:
        MissingExtra: without vLLM.
        PolicyUnavailable: if there is no such model or adapter, or the engine does not start.
        UsageError: for an argument of another type or range.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        adapter: str | Path | None = None,
        max_adapter_rank: int | None = None,
        tensor_parallel: int = 1,
        max_model_len: int | None = None,
        dtype: str = "auto",
        stop: Sequence[str] = (),
        structured: bool = True,
        chat_template_kwargs: Mapping[str, Json] | None = None,
        engine_arguments: Mapping[str, Any] | None = None,
        prompts: PromptSource | None = None,
    ) -> None:
        if not isinstance(model, str | Path) or not str(model):
            raise UsageError(f"model={model!r}: expected the name of a model or a folder")
        for name, count in (
            ("tensor_parallel", tensor_parallel),
            ("max_model_len", max_model_len),
            ("max_adapter_rank", max_adapter_rank),
        ):
            if count is not None and (type(count) is not int or count < 1):
                raise UsageError(f"{name}={count!r}: expected a whole number >= 1")
        if isinstance(stop, str) or not all(isinstance(text, str) and text for text in stop):
            raise UsageError(f"stop={stop!r}: expected a list of texts")
        if engine_arguments is not None and not isinstance(engine_arguments, Mapping):
            raise UsageError(
                f"engine_arguments={engine_arguments!r}: expected a dict of vLLM's engine arguments"
            )
        rank = max_adapter_rank
        if rank is None and adapter is not None:
            rank = adapter_rank(adapter)
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        require("vllm", "vllm")
        settings = {
            "model": str(model),
            "tensor_parallel_size": tensor_parallel,
            "max_model_len": max_model_len,
            "dtype": dtype,
            **_adapter_arguments(rank),
            **dict(engine_arguments or {}),
        }
        self.prompts = prompts
        self._label = Path(model).name
        self._model, self._stop = str(model), tuple(stop)
        self._structured = bool(structured)
        self._after_thinking = bool(settings.get("reasoning_parser"))
        self._refused: set[str] = set()
        self._rank = rank
        self._adapter: _Adapter | None = None
        self._adapters = 0
        self._prompt_tokens = self._cached_tokens = 0
        tokenizer, ends = _tokenizer(self._model, settings.get("revision"))
        ChatTokenizer(tokenizer, self._label, chat_template_kwargs, ends, None)  # fails early
        self._engine = EngineThread(_engine_arguments(settings))
        config = self._engine.engine.model_config
        self.context_window: int = int(config.max_model_len)
        self._chat = ChatTokenizer(
            tokenizer, self._label, chat_template_kwargs, ends, self.context_window
        )
        self.chat_template_kwargs = self._chat.arguments
        self._weights = f"{_weights(self._model, settings.get('revision'))}:{config.dtype}"
        if adapter is not None:
            try:
                self.use_adapter(adapter)
            except LeafeError:
                self.close()
                raise

    @property
    def name(self) -> str:
        """Model, revision, adapter and settings."""
        adapter = self._adapter.digest if self._adapter else ""
        chat = self._chat
        about = (self._weights, adapter, self._stop, sorted(chat.arguments.items()), chat.source)
        digest = hashlib.blake2b(repr(about).encode(), digest_size=6)
        return f"vllm:{self._label}:{digest.hexdigest()}"

    @property
    def prefix_cache_hits(self) -> tuple[int, int]:
        """Tokens of all prompts so far, and those of them that were not read again."""
        return self._prompt_tokens, self._cached_tokens

    def use_adapter(self, adapter: str | Path) -> None:
        """Answer with a LoRA adapter from now on, instead of the previous one; no restart.

        Args:
            adapter: folder that PEFT saved.

        Raises:
            UsageError: if the policy was made without `max_adapter_rank` or `adapter`, or this
                adapter's rank is higher.
            PolicyUnavailable: if it cannot be loaded; the policy stays as it was.
        """
        from vllm.lora.request import LoRARequest

        rank = adapter_rank(adapter)
        if self._rank is None or rank > _bound(self._rank):
            raise UsageError(
                f"adapter={str(adapter)!r} has rank {rank}: make the policy with "
                f"max_adapter_rank={rank} to load it"
            )
        digest = weights_digest(adapter)
        if self._adapter is not None and self._adapter.digest == digest:
            return
        # The engine's prefix cache tells adapters apart by their names.
        request = LoRARequest(digest, self._adapters + 1, str(Path(adapter).resolve()))
        try:
            self._engine.call(self._engine.engine.add_lora(request))
        except Exception as error:
            raise PolicyUnavailable(
                f"{self._label}: cannot load the adapter {adapter}: {type(error).__name__}: {error}"
            ) from error
        self._adapters += 1
        self._adapter = _Adapter(digest, request)

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """See `Policy.complete`.

        Raises:
            ContextFull: if prompt and reply do not fit into the model's context.
            PolicyError: if the chat template or the engine refuses the request.
            PolicyUnavailable: if the chat template refuses every chat of the prompt set, the
                engine died, or `max_tokens` leaves no room for any prompt.
        """
        prompt, opened = self._chat.fitting_prompt(messages, sampling)
        adapter = self._adapter.request if self._adapter else None
        schema = self._schema(sampling, opened)
        try:
            try:
                output = await self._engine.generate(
                    prompt, self._params(sampling, schema), adapter
                )
            except ValueError:
                if schema is None:
                    raise
                self._refused.add(schema)  # its grammar is too large, or has an unknown keyword
                output = await self._engine.generate(prompt, self._params(sampling, None), adapter)
        except PolicyError as error:
            raise type(error)(f"{self.name}: {error}") from error
        except ValueError as error:
            raise PolicyError(f"{self.name}: vLLM refuses the request: {error}") from error
        self._prompt_tokens += len(prompt)
        self._cached_tokens += output.num_cached_tokens or 0
        reply = output.outputs[0]
        ids = [int(one) for one in reply.token_ids]
        return self._chat.completion(
            prompt,
            ids,
            opened=opened,
            ended=reply.finish_reason == "stop",
            stop=self._stop,
            logprobs=_logprobs(reply, ids) if sampling.return_ids else (),
            return_ids=sampling.return_ids,
        )

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the prompt for `messages`."""
        return self._chat.count_tokens(messages)

    def tokenize(self, messages: Sequence[Message], completion: str) -> tuple[Sequence[int], int]:
        """See `budget.Tokenizer`."""
        return self._chat.tokenize(messages, completion)

    def close(self) -> None:
        """Stop the engine; also done at the interpreter's exit."""
        self._engine.close()

    def _schema(self, sampling: Sampling, opened: bool) -> str | None:
        """The schema that the reply must satisfy, as text.

        In a prompt that opened a thinking block it would bind the thinking instead of the answer,
        unless the engine was given a `reasoning_parser`.
        """
        if not self._structured or sampling.json_schema is None:
            return None
        if opened and not self._after_thinking:
            return None
        schema = json.dumps(sampling.json_schema)
        return None if schema in self._refused else schema

    def _params(self, sampling: Sampling, schema: str | None) -> Any:
        from vllm.sampling_params import (
            RequestOutputKind,
            SamplingParams,
            StructuredOutputsParams,
        )

        greedy = sampling.temperature == 0
        return SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k or 0,
            seed=None if greedy else sampling.seed,
            max_tokens=sampling.max_tokens,
            stop=list(self._stop),
            stop_token_ids=list(self._chat.ends),
            logprobs=0 if sampling.return_ids else None,
            skip_special_tokens=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
            structured_outputs=None if schema is None else StructuredOutputsParams(json=schema),
        )


def _bound(rank: int) -> int:
    """The smallest bound of vLLM's that allows a rank."""
    return next((bound for bound in RANKS if bound >= rank), RANKS[-1])


def _adapter_arguments(rank: int | None) -> dict[str, Any]:
    if rank is None:
        return {}
    return {"enable_lora": True, "max_loras": 1, "max_lora_rank": _bound(rank)}


def _engine_arguments(settings: dict[str, Any]) -> Any:
    """The engine's arguments, with what a CPU needs.

    Raises:
        UsageError: for an argument that vLLM does not know or refuses.
    """
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.platforms import current_platform

    defaults: dict[str, Any] = {"enable_prefix_caching": True, "disable_log_stats": True}
    defaults |= {"trust_remote_code": False, "load_format": "safetensors"}
    if current_platform.is_cpu():
        defaults |= CPU_ARGUMENTS
        # Without chunks the longest prompt must fit into one pass.
        if settings["max_model_len"]:
            defaults["max_num_batched_tokens"] = max(4096, settings["max_model_len"])
    try:
        return AsyncEngineArgs(**{**defaults, **settings})
    except (TypeError, ValueError) as error:
        raise UsageError(f"vLLM refuses its engine arguments: {error}") from error


def _tokenizer(model: str, revision: str | None) -> tuple[Any, list[int]]:
    """The model's tokenizer, and the tokens that its settings name as ends of a reply.

    Raises:
        PolicyUnavailable: if there is no such model.
    """
    from transformers import AutoTokenizer, GenerationConfig

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(
            model, revision=revision, trust_remote_code=False
        )
    except Exception as error:  # a damaged file may raise anything
        raise PolicyUnavailable(
            f"cannot load the model {model}: {type(error).__name__}: {error}"
        ) from error
    try:
        found = GenerationConfig.from_pretrained(model, revision=revision or "main").eos_token_id
    except (OSError, ValueError):
        found = None
    return tokenizer, found if isinstance(found, list) else [] if found is None else [found]


def _weights(model: str, revision: str | None) -> str:
    """Hash of a model's weights; its name where they are not in safetensors files."""
    from huggingface_hub import snapshot_download

    try:
        if Path(model).is_dir():
            return weights_digest(model)
        return weights_digest(snapshot_download(model, revision=revision, local_files_only=True))
    except (LeafeError, OSError, ValueError):
        return f"{model}@{revision or ''}"


def _logprobs(reply: Any, ids: Sequence[int]) -> tuple[float, ...]:
    """The log-probability of each sampled token, at temperature 1; () where one is missing."""
    found = [at.get(one) for at, one in zip(reply.logprobs or (), ids, strict=False)]
    if len(found) != len(ids) or any(one is None for one in found):
        return ()
    return tuple(float(one.logprob) for one in found if one is not None)
