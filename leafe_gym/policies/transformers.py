"""Any Hugging Face causal language model as a policy, in process, on CPU or GPU.

Requests that wait at the same moment form one batch. What prompts have in common with earlier ones
is not read again, see `decoding`. Each request has its own random generator, so a reply depends on
its prompt and seed and not on the batch or on earlier prompts, up to the rounding of the model's
kernels: in float32 on a CPU about 1e-6 of a probability; in half precision a near tie between two
tokens may be decided differently.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from leafe_gym._models import DATA_ONLY, refuse_code, refuse_pickled_adapter
from leafe_gym._optional import require
from leafe_gym.errors import PolicyError, PolicyUnavailable, UsageError
from leafe_gym.policies.chat_tokenizer import ChatTokenizer, context_window
from leafe_gym.policies.decoding import Decoder
from leafe_gym.policies.request_queue import Request, RequestQueue
from leafe_gym.policies.torch_threads import limit_threads
from leafe_gym.prompts.base import PromptSource
from leafe_gym.types import Completion, Json, Message, Sampling

STOP_WINDOW = 32
"""Number of the newest tokens that are searched for stop strings."""


class TransformersPolicy:
    """A Hugging Face causal language model, in this process.

    Attributes:
        name: the model and a fingerprint of its weights, adapter, template and settings.
        network: the model; do not change its weights between calls.
        context_window: most tokens of prompt and reply together; None if not known.
        chat_template_kwargs: arguments of the chat template. Templates that print today's date get
            a fixed one, `date_string` or else that of `leafe_gym.prompts.chat_template`.

    Args:
        network: a causal language model of transformers, on its device.
        tokenizer: its tokenizer, with a chat template.
        label: what the model is called.
        stop: texts that end a reply; they are not part of it.
        max_batch: most requests of a batch; halved automatically when memory runs out.
        chat_template_kwargs: further arguments of the chat template, such as `enable_thinking`.
        prefix_cache_gib: most memory, on the model's device, for what was read of earlier prompts,
            in GiB; 0 reads every prompt from its beginning.
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
        chat_template_kwargs: Mapping[str, Json] | None = None,
        prefix_cache_gib: float = 1.0,
        prompts: PromptSource | None = None,
    ) -> None:
        if type(max_batch) is not int or max_batch < 1:
            raise UsageError(f"max_batch={max_batch!r}: expected a whole number >= 1")
        if isinstance(stop, str) or not all(isinstance(text, str) and text for text in stop):
            raise UsageError(f"stop={stop!r}: expected a list of texts")
        size = prefix_cache_gib
        if not isinstance(size, int | float) or isinstance(size, bool) or not 0 <= size < 1e6:
            raise UsageError(f"prefix_cache_gib={size!r}: expected a number of GiB >= 0")
        self.network = network.eval()
        self.prompts = prompts
        self.context_window = context_window(network.config)
        ends = _ends(network)
        self._chat = ChatTokenizer(
            tokenizer, label, chat_template_kwargs, ends, self.context_window
        )
        self.chat_template_kwargs = self._chat.arguments
        self._label = label
        self._stop = tuple(stop)
        self._decoder = Decoder(
            network, self._chat.ends[0], lambda *pair: self._append(*pair), int(size * 2**30)
        )
        self._queue = RequestQueue(self._answer, self._free, lambda: self.name, max_batch)
        self._decoding = threading.Lock()
        self.name = self._identity()

    @classmethod
    def load(
        cls,
        model: str | Path,
        *,
        adapter: str | Path | None = None,
        device: str | None = None,
        dtype: str = "auto",
        threads: int | None = None,
        stop: Sequence[str] = (),
        max_batch: int = 64,
        chat_template_kwargs: Mapping[str, Json] | None = None,
        prefix_cache_gib: float = 1.0,
        prompts: PromptSource | None = None,
    ) -> TransformersPolicy:
        """A model by its name on the hub, or from a folder.

        Args:
            model: the name or folder.
            adapter: folder of a LoRA adapter (PEFT) for it.
            device: such as "cuda:1"; default a GPU where there is one.
            dtype: such as "bfloat16"; "auto" for the one the weights are saved in.
            threads: threads of PyTorch in this process, for a model on the CPU; default see
                `torch_threads.limit_threads`.
            stop: see the class, as for the arguments after it.
            max_batch: see the class.
            chat_template_kwargs: see the class.
            prefix_cache_gib: see the class.
            prompts: see the class.

        Raises:
            MissingExtra: without transformers, or with an adapter without peft.
            PolicyUnavailable: if there is no such model or adapter, or it cannot be loaded.
            UsageError: see the class.
        """
        if not isinstance(model, str | Path) or not str(model):
            raise UsageError(f"model={model!r}: expected the name of a model or a folder")
        if threads is not None and (type(threads) is not int or threads < 1):
            raise UsageError(f"threads={threads!r}: expected a whole number >= 1")
        library = require("transformers", "train")
        refuse_code(model)
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        if device == "cpu":
            limit_threads(threads)
        try:
            tokenizer = library.AutoTokenizer.from_pretrained(str(model), trust_remote_code=False)
            network = library.AutoModelForCausalLM.from_pretrained(
                str(model), dtype=dtype, **DATA_ONLY
            )
            network = network.to(device)
        except Exception as error:  # a damaged file may raise anything
            raise PolicyUnavailable(
                f"cannot load the model {model} on {device}: {type(error).__name__}: {error}"
            ) from error
        policy = cls(
            network,
            tokenizer,
            label=Path(model).name,
            stop=stop,
            max_batch=max_batch,
            chat_template_kwargs=chat_template_kwargs,
            prefix_cache_gib=prefix_cache_gib,
            prompts=prompts,
        )
        if adapter is not None:
            policy.use_adapter(adapter)
        return policy

    @property
    def prefix_cache_hits(self) -> tuple[int, int]:
        """Tokens of all prompts so far, and those of them that were not read again."""
        return self._decoder.prompt_tokens, self._decoder.cached_tokens

    def use_adapter(self, adapter: str | Path) -> None:
        """Answer with a LoRA adapter from now on, instead of the previous one.

        Args:
            adapter: folder that PEFT saved.

        Raises:
            MissingExtra: without peft.
            PolicyUnavailable: if it cannot be loaded; the policy stays as it was.
        """
        if not isinstance(adapter, str | Path) or not str(adapter):
            raise UsageError(f"adapter={adapter!r}: expected the folder of a LoRA adapter")
        peft = require("peft", "train")
        refuse_pickled_adapter(adapter)
        with self._decoding:
            try:
                if isinstance(self.network, peft.PeftModel):
                    _replace_adapter(self.network, str(adapter))
                else:
                    self.network = peft.PeftModel.from_pretrained(self.network, str(adapter)).eval()
            except Exception as error:  # a damaged file may raise anything
                raise PolicyUnavailable(
                    f"cannot load the adapter {adapter}: {type(error).__name__}: {error}"
                ) from error
            self._decoder.network = self.network
            if self._decoder.held is not None:
                self._decoder.held.clear()
            self.name = self._identity()

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """See `Policy.complete`.

        Raises:
            ContextFull: if prompt and reply do not fit into the model's context.
            PolicyError: if the chat template refuses the messages, memory runs out with a single
                request, the model's logits are not finite, or decoding fails.
            PolicyUnavailable: if the chat template refuses every chat of the prompt set, or
                `max_tokens` leaves no room for any prompt.
        """
        prompt, opened = self._chat.fitting_prompt(messages, sampling)
        future: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._queue.add(Request(tuple(prompt), opened, sampling, future))
        return await future

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the prompt for `messages`."""
        return self._chat.count_tokens(messages)

    def tokenize(self, messages: Sequence[Message], completion: str) -> tuple[Sequence[int], int]:
        """See `budget.Tokenizer`."""
        return self._chat.tokenize(messages, completion)

    def _answer(self, requests: list[Request]) -> None:
        """Decode a batch and hand out the replies; runs in the queue's thread."""
        with self._decoding:
            self._decoder.run(requests)
        for request in requests:
            if request.error:
                request.deliver(PolicyError(f"{self.name}: {request.error}"))
            else:
                request.deliver(self._completion(request))

    def _append(self, request: Request, token: int) -> None:
        request.tokens.append(token)
        request.ended = token in self._chat.ends
        if self._stop and not request.ended:
            tail = self._chat.tail(request.tokens[-STOP_WINDOW:])
            request.ended = any(stop in tail for stop in self._stop)

    def _completion(self, request: Request) -> Completion:
        return self._chat.completion(
            request.prompt,
            request.tokens,
            opened=request.opened,
            ended=request.ended,
            stop=self._stop,
            logprobs=request.logprobs,
            return_ids=request.sampling.return_ids,
        )

    def _free(self) -> None:
        """Release the memory of the previous batch."""
        if self._decoder.held is not None:
            self._decoder.held.clear()
        gc.collect()
        torch.cuda.empty_cache()

    def _identity(self) -> str:
        settings = repr((self._stop, sorted(self._chat.arguments.items()), self._chat.source))
        return f"transformers:{self._label}:{_fingerprint(self.network, settings)}"


def _ends(network: Any) -> list[int]:
    """The tokens that the model's own settings name as ends of a reply."""
    found = getattr(network.generation_config, "eos_token_id", None)
    return found if isinstance(found, list) else [] if found is None else [found]


def _replace_adapter(network: Any, adapter: str) -> None:
    """Load another adapter, make it the active one, and drop the previous one."""
    before = network.active_adapter
    fresh = "next" if before != "next" else "default"
    network.load_adapter(adapter, fresh)
    network.set_adapter(fresh)
    network.delete_adapter(before)
    network.eval()


def _fingerprint(network: Any, settings: str) -> str:
    """Hash of the settings and of up to 64 numbers of every weight tensor."""
    digest = hashlib.blake2b(settings.encode(), digest_size=6)
    for parameter in network.parameters():
        flat = parameter.detach().reshape(-1)
        digest.update(repr((tuple(parameter.shape), str(parameter.dtype))).encode())
        digest.update(flat[:: max(1, len(flat) // 64)][:64].float().cpu().numpy().tobytes())
    return digest.hexdigest()


transformers_policy = TransformersPolicy.load
"""The policy called "transformers"."""
