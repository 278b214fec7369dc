"""vLLM in this process: the trees that transformers gives, prefixes, adapters, ids and windows."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import leafe_gym as lg
from leafe_gym.errors import ContextFull, MissingExtra, PolicyUnavailable, UsageError
from leafe_gym.policies.vllm import CPU_ARGUMENTS

if TYPE_CHECKING:
    from leafe_gym.policies.vllm import VLLMPolicy

HERE = importlib.util.find_spec("vllm") is not None
needs_vllm = pytest.mark.skipif(not HERE, reason="vLLM absent: make vllm, then make soak-vllm")
CHAT: list[lg.Message] = [{"role": "user", "content": "s0 ---- -@$. ----"}]


@pytest.mark.skipif(HERE, reason="vLLM is installed")
def test_without_vllm_one_line_says_what_to_install(servable: Path) -> None:
    with pytest.raises(MissingExtra, match=r"pip install 'leafe-gym\[vllm\]'"):
        lg.policy("vllm", model=str(servable))


def test_nothing_heavy_is_loaded_with_the_module() -> None:
    code = (
        "import sys, leafe_gym.policies.vllm; "
        "sys.exit(', '.join({'torch', 'transformers', 'vllm'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_arguments_of_another_type(servable: Path, tmp_path: Path) -> None:
    options: list[dict[str, Any]] = [
        {"tensor_parallel": 0}, {"max_model_len": 1.5}, {"max_adapter_rank": True}, {"stop": "x"},
        {"engine_arguments": [1]}, {"adapter": str(tmp_path)},
    ]  # fmt: skip
    for option in options:
        with pytest.raises(UsageError, match=f"^{next(iter(option))}="):
            lg.policy("vllm", model=str(servable), **option)


def test_no_policy_chooses_prompts_for_the_environment() -> None:
    from leafe_gym.policies.openai import OpenAIPolicy
    from leafe_gym.policies.transformers import TransformersPolicy
    from leafe_gym.policies.vllm import VLLMPolicy

    for kind in (OpenAIPolicy, TransformersPolicy, VLLMPolicy):
        assert inspect.signature(kind).parameters["prompts"].default is None, kind


# --- with vLLM ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def multiturn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model that is prompted with a history."""
    from leafe_gym.tiny.policy import SHIPPED
    from leafe_gym.tiny.servable import save_servable

    return save_servable(SHIPPED / "multiturn", tmp_path_factory.mktemp("multiturn"))


@pytest.fixture(scope="module")
def policy(multiturn: Path) -> Iterator[VLLMPolicy]:
    """One engine for all tests: it starts for a minute."""
    made: Any = lg.policy(
        "vllm",
        model=str(multiturn),
        dtype="float32",
        max_adapter_rank=8,
        prompts="tiny-multiturn",
    )
    yield made
    made.close()


def asked(policy: Any, sampling: lg.Sampling, chat: list[lg.Message] = CHAT) -> lg.Completion:
    done: lg.Completion = asyncio.run(policy.complete(chat, sampling))
    return done


class Recorded:
    """Passes requests on, and keeps the tokens of prompts and replies."""

    def __init__(self, inner: VLLMPolicy) -> None:
        self.inner, self.name, self.tokenize = inner, inner.name, inner.tokenize
        self.prompts, self.seen = inner.prompts, list[tuple[int, ...]]()
        self.shared: list[int] = []

    async def complete(
        self, messages: Sequence[lg.Message], sampling: lg.Sampling
    ) -> lg.Completion:
        prompt = tuple(self.inner.tokenize(messages, "")[0])[: self.inner.count_tokens(messages)]
        self.shared.append(max((common(prompt, one) for one in self.seen), default=0))
        done = await self.inner.complete(messages, replace(sampling, return_ids=True))
        assert done.sampled is not None
        self.seen.append(prompt + tuple(done.sampled.ids))
        return done

    def shared_blocks(self) -> int:
        """Tokens of the prompts that stood in earlier ones, in whole blocks of the engine's."""
        block = CPU_ARGUMENTS["block_size"]
        return sum(shared // block * block for shared in self.shared)


def common(one: Sequence[int], other: Sequence[int]) -> int:
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


@pytest.mark.vllm
@needs_vllm
def test_the_trees_of_transformers(policy: VLLMPolicy, multiturn: Path, tmp_path: Path) -> None:
    from small_runs import grown, shape

    from leafe_gym.policies.transformers import TransformersPolicy

    before = policy.prefix_cache_hits
    recorded = Recorded(policy)
    there = grown(recorded, 24, tmp_path / "vllm")
    read, cached = (now - was for now, was in zip(policy.prefix_cache_hits, before, strict=True))
    local = TransformersPolicy.load(multiturn, device="cpu", prompts="tiny-multiturn")
    here = grown(local, 24, tmp_path / "transformers")
    same = sum(one == other for one, other in zip(shape(there), shape(here), strict=True))
    figures = {
        "same_trees": same, "prompt_tokens": read, "cached_tokens": cached,
        "shared": sum(tree.spent.shared_tokens for tree in there),
        "shared_blocks": recorded.shared_blocks(), "transformers": local.prefix_cache_hits,
    }  # fmt: skip
    (tmp_path / "figures.json").write_text(json.dumps(figures))
    assert same >= 20, figures
    assert any(len(tree.branches) > 1 for tree in here)
    assert cached >= 0.9 * recorded.shared_blocks() > 0, figures


def write_adapter(folder: Path, model: Path, seed: int) -> dict[str, Any]:
    """A random LoRA adapter in PEFT's form; returns the change of each weight."""
    import torch
    from safetensors.torch import load_file, save_file

    rank, scale = 4, 8
    random = torch.Generator().manual_seed(seed)
    weights: dict[str, torch.Tensor] = {}
    change: dict[str, torch.Tensor] = {}
    for name, value in load_file(model / "model.safetensors").items():
        if "q_proj.weight" not in name and "v_proj.weight" not in name:
            continue
        rows, columns = value.shape
        a = torch.randn(rank, columns, generator=random) * 0.3
        b = torch.randn(rows, rank, generator=random) * 0.3
        key = f"base_model.model.{name.removesuffix('.weight')}"
        weights |= {f"{key}.lora_A.weight": a, f"{key}.lora_B.weight": b}
        change[name] = b @ a * (scale / rank)
    folder.mkdir()
    save_file(weights, folder / "adapter_model.safetensors")
    settings = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": scale,
        "target_modules": ["q_proj", "v_proj"], "lora_dropout": 0.0, "bias": "none",
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return change


@pytest.mark.vllm
@needs_vllm
def test_adapters_change_between_rounds_without_a_restart(
    policy: VLLMPolicy, multiturn: Path, tmp_path: Path
) -> None:
    import torch

    from leafe_gym.policies.transformers import TransformersPolicy

    greedy = lg.Sampling(temperature=0, max_tokens=12, return_ids=True)
    name, engine = policy.name, policy._engine
    first = asked(policy, greedy)
    found = [first]
    names = {name}
    for seed in (1, 2):
        change = write_adapter(tmp_path / str(seed), multiturn, seed)
        policy.use_adapter(tmp_path / str(seed))
        found.append(asked(policy, greedy))
        names.add(policy.name)
        merged = TransformersPolicy.load(multiturn, device="cpu")
        with torch.no_grad():
            for key, value in merged.network.named_parameters():
                value += change.get(key, 0)
        here = asked(merged, greedy)
        assert here.sampled is not None
        assert found[-1].sampled is not None
        assert here.sampled.ids == found[-1].sampled.ids
        assert found[-1].sampled.logprobs == pytest.approx(here.sampled.logprobs, abs=1e-2)
    assert policy._engine is engine
    assert len(names) == 3
    assert len({one.sampled.logprobs for one in found if one.sampled}) == 3
    with pytest.raises(UsageError, match="expected the folder of a LoRA adapter"):
        policy.use_adapter(tmp_path)
    (tmp_path / "1" / "adapter_model.safetensors").write_bytes(b"\0" * 9)
    with pytest.raises(PolicyUnavailable, match="cannot load the adapter"):
        policy.use_adapter(tmp_path / "1")
    assert asked(policy, greedy).text == found[-1].text


@pytest.mark.vllm
@needs_vllm
def test_seeds_repeat_and_ids_are_those_of_the_prompt(policy: VLLMPolicy) -> None:
    def replies() -> list[lg.Completion]:
        async def ask() -> list[lg.Completion]:
            sampling = [
                lg.Sampling(temperature=2.0, max_tokens=6, seed=seed, top_k=50, return_ids=True)
                for seed in (0, 1, 2**63 - 1)
            ]
            return await asyncio.gather(*(policy.complete(CHAT, one) for one in sampling))

        return asyncio.run(ask())

    found = replies()
    assert [one.text for one in replies()] == [one.text for one in found]
    assert len({one.text for one in found}) > 1
    for one in found:
        assert one.sampled is not None
        assert len(one.sampled.logprobs) == len(one.sampled.ids) == one.usage.completion_tokens
        assert len(one.sampled.prompt_ids) == policy.count_tokens(CHAT) == one.usage.prompt_tokens
    assert policy.tokenize(CHAT, "up")[1] == policy.count_tokens(CHAT)


@pytest.mark.vllm
@needs_vllm
def test_a_prompt_too_long_and_a_call_that_is_cancelled(policy: VLLMPolicy) -> None:
    long: list[lg.Message] = [{"role": "user", "content": "----" + " ----" * policy.context_window}]
    with pytest.raises(ContextFull, match="do not fit into its context"):
        asked(policy, lg.Sampling(max_tokens=4), long)

    async def cancelled() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(policy.complete(CHAT, lg.Sampling(max_tokens=400)), 0.001)

    asyncio.run(cancelled())
    assert asked(policy, lg.Sampling(temperature=0, max_tokens=2)).usage.completion_tokens


@pytest.mark.vllm
@needs_vllm
def test_a_closed_policy_says_so_and_the_process_ends_quietly(multiturn: Path) -> None:
    code = f"""
import asyncio, leafe_gym as lg
from leafe_gym.errors import PolicyUnavailable
policy = lg.policy("vllm", model={str(multiturn)!r}, dtype="float32")
sampling = lg.Sampling(temperature=0, max_tokens=2)
print("first", asyncio.run(policy.complete({CHAT!r}, sampling)).usage.completion_tokens)
policy.close()
try:
    asyncio.run(policy.complete({CHAT!r}, sampling))
except PolicyUnavailable as error:
    print(error)
open_one = lg.policy("vllm", model={str(multiturn)!r}, dtype="float32")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=3000
    )
    assert done.returncode == 0, done.stderr
    assert "first 2" in done.stdout or "first 1" in done.stdout
    assert "engine was closed" in done.stdout
    assert "Exception ignored" not in done.stderr
    assert "Traceback" not in done.stderr
