"""The same model on transformers, in vLLM in this process and behind a vLLM server, greedily.

    LEAFE_MODEL=FOLDER .venv-vllm/bin/python benchmarks/engines.py

Grows the trees of 24 Sokoban tasks with each of them, then, without a restart, those of 6 tasks
with a LoRA adapter of random weights. For equal requests that were answered differently, `margins`
holds the difference of log-probability (transformers) between the two tokens at the first place
where the replies differ. Needs the environment of `make vllm`; run folders lie under LEAFE_RUNS
(default `runs/engines`), and trees that are there are not grown again.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from _harness import ROOT, Report, main

import leafe_gym as lg
from leafe_gym.policies.base import Policy
from leafe_gym.store.reader import RunReader
from leafe_gym.tree import Tree
from leafe_gym.types import Completion, Message, Sampling

TASKS, ADAPTER_TASKS = 24, 6
CONFIG: dict[str, Any] = {
    "prompts": "chat",
    "temperature": 0.0,
    "reflect_temperature": 0.0,
    "max_tokens": 40,
    "max_reflect_tokens": 120,
    "reflect_every": None,
    "max_depth": 2,
}
INTERACTIONS = 14
CONCURRENCY = 24
RANK, SCALE = 4, 8
"""Rank and alpha of the LoRA adapter."""
ARGUMENTS: dict[str, Any] = {"max_model_len": 4096, "max_num_seqs": 24}
WITHOUT_SCHEMAS: dict[str, Any] = {"structured": False}
"""transformers has no structured output."""
KINDS = ("transformers", "vllm", "server")


class Recorded:
    """A policy that writes down what it was asked and what it answered."""

    def __init__(self, inner: Policy, path: Path) -> None:
        self.inner, self.path = inner, path
        self.name = path.stem
        if hasattr(inner, "tokenize"):
            self.tokenize = inner.tokenize

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """See `Policy.complete`."""
        done = await self.inner.complete(messages, sampling)
        asked = [messages, asdict(replace(sampling, seed=0))]
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([asked, done.text]) + "\n")
        return done


def measure() -> Report:
    """Grow the missing trees, then compare."""
    model = os.environ.get("LEAFE_MODEL", "")
    if not model:
        reason = "needs a model: LEAFE_MODEL=FOLDER"
        return Report(figures={"same_trees": None}, skipped={"same_trees": reason})
    folder = Path(os.environ.get("LEAFE_RUNS", ROOT / "runs" / "engines"))
    folder.mkdir(parents=True, exist_ok=True)
    adapter = folder / "adapter"
    if not adapter.is_dir():
        write_adapter(adapter, Path(model))
    for kind, grow in (("transformers", local), ("vllm", in_process), ("server", served)):
        if not (folder / f"{kind}.json").is_file():
            began = time.perf_counter()
            hits = grow(model, adapter, folder)
            seconds = round(time.perf_counter() - began, 1)
            (folder / f"{kind}.json").write_text(json.dumps({"seconds": seconds, **hits}))
    return compared(model, folder)


def grown(policy: Policy, name: str, count: int, folder: Path) -> None:
    """Grow the trees of the first `count` tasks."""
    agent = lg.ReflectiveTreeAgent(
        Recorded(policy, folder / f"{name}.jsonl"), lg.AgentConfig(**CONFIG)
    )
    tasks = lg.tasks("leafe/Sokoban-v0", split="train", boxes=1, max_steps=4)[:count]
    lg.explore(
        agent,
        tasks,
        budget=lg.Budget(interactions=INTERACTIONS),
        concurrency=CONCURRENCY,
        out=folder / name,
    ).close()


def local(model: str, adapter: Path, folder: Path) -> dict[str, Any]:
    """The trees of transformers; the adapter is added to the weights."""
    import torch

    policy: Any = lg.policy("transformers", model=model, device="cpu")
    grown(policy, "transformers", TASKS, folder)
    read, cached = policy.prefix_cache_hits
    other: Any = lg.policy("transformers", model=model, device="cpu")
    changes = torch.load(folder / "adapter" / "changes.pt")
    with torch.no_grad():
        for key, value in other.network.named_parameters():
            if key in changes:
                value += changes[key].to(value.dtype)
    grown(other, "transformers-adapter", ADAPTER_TASKS, folder)
    return {"read": read, "cached": cached}


def in_process(model: str, adapter: Path, folder: Path) -> dict[str, Any]:
    """The trees of vLLM in this process; one engine for both rounds."""
    policy: Any = lg.policy(
        "vllm", model=model, max_adapter_rank=RANK, engine_arguments=ARGUMENTS, **WITHOUT_SCHEMAS
    )
    grown(policy, "vllm", TASKS, folder)
    read, cached = policy.prefix_cache_hits
    began = time.perf_counter()
    policy.use_adapter(adapter)
    loaded = time.perf_counter() - began
    grown(policy, "vllm-adapter", ADAPTER_TASKS, folder)
    policy.close()
    return {"read": read, "cached": cached, "adapter_seconds": round(loaded, 2)}


def served(model: str, adapter: Path, folder: Path) -> dict[str, Any]:
    """The trees through a server; one server for both rounds."""
    with serving(model, folder) as url:
        policy: Any = lg.policy("m", base_url=f"{url}/v1", deadline=1800, **WITHOUT_SCHEMAS)
        grown(policy, "server", TASKS, folder)
        read, cached = (metric(url, f"prefix_cache_{key}_total") for key in ("queries", "hits"))
        again: Any = lg.policy("m", base_url=f"{url}/v1", deadline=1800, **WITHOUT_SCHEMAS)
        began = time.perf_counter()
        asyncio.run(again.load_adapter(adapter))
        loaded = time.perf_counter() - began
        grown(again, "server-adapter", ADAPTER_TASKS, folder)
    return {"read": read, "cached": cached, "adapter_seconds": round(loaded, 2)}


@contextmanager
def serving(model: str, folder: Path) -> Iterator[str]:
    """A vLLM server of the model."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model,
        "--served-model-name", "m", "--host", "127.0.0.1", "--port", str(port), "--enforce-eager",
        "--max-model-len", "4096", "--max-num-seqs", "24", "--enable-prefix-caching",
        "--no-enable-chunked-prefill", "--max-num-batched-tokens", "4096", "--block-size", "32",
        "--enable-lora", "--max-loras", "1", "--max-lora-rank", "8",
    ]  # fmt: skip
    environ = os.environ | {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"}
    url = f"http://127.0.0.1:{port}"
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
        try:
            while server.poll() is None:
                try:
                    with urllib.request.urlopen(f"{url}/health", timeout=5):
                        break
                except OSError:
                    time.sleep(1)
            yield url
        finally:
            server.terminate()
            server.wait(60)


def metric(url: str, name: str) -> int:
    """A counter of the server's, over all its engines."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    found = [line for line in lines if line.startswith(f"vllm:{name}{{")]
    return round(sum(float(line.rpartition(" ")[2]) for line in found))


def write_adapter(folder: Path, model: Path) -> None:
    """A random LoRA adapter in PEFT's form, and the changes of weights that it stands for."""
    import torch
    from safetensors.torch import load_file, save_file

    random = torch.Generator().manual_seed(0)
    weights: dict[str, torch.Tensor] = {}
    changes: dict[str, torch.Tensor] = {}
    for file in sorted(model.glob("*.safetensors")):
        for name, value in load_file(file).items():
            if name.endswith(("q_proj.weight", "v_proj.weight")):
                rows, columns = value.shape
                a = torch.randn(RANK, columns, generator=random) * 0.02
                b = torch.randn(rows, RANK, generator=random) * 0.02
                key = f"base_model.model.{name.removesuffix('.weight')}"
                weights |= {f"{key}.lora_A.weight": a, f"{key}.lora_B.weight": b}
                changes[name] = b @ a * (SCALE / RANK)
    folder.mkdir(parents=True)
    save_file(weights, folder / "adapter_model.safetensors")
    torch.save(changes, folder / "changes.pt")
    settings = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": SCALE,
        "target_modules": ["q_proj", "v_proj"], "lora_dropout": 0.0, "bias": "none",
        "base_model_name_or_path": str(model),
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(settings))


def compared(model: str, folder: Path) -> Report:
    """What the engines' trees have in common."""
    report = Report(meta={"tasks": TASKS, "adapter_tasks": ADAPTER_TASKS, "agent": CONFIG})
    runs = {kind: trees(folder / kind) for kind in KINDS}
    pairs = (("vllm", "transformers"), ("server", "transformers"), ("server", "vllm"))
    for one, other in pairs:
        key = f"{one}_{other}"
        report.figures[f"same_trees.{key}"] = same(runs[one], runs[other])
        with_adapter = (trees(folder / f"{kind}-adapter") for kind in (one, other))
        report.figures[f"same_trees_adapter.{key}"] = same(*with_adapter)
    margin = margins(model)
    for kind in KINDS:
        done = json.loads((folder / f"{kind}.json").read_text())
        shared = sum(tree.spent.shared_tokens for tree in runs[kind])
        report.figures[f"prefix_hits_vs_shared.{kind}"] = done["cached"] / shared
        report.figures[f"seconds.{kind}"] = done["seconds"]
        base, tuned = answers(folder, kind), answers(folder, f"{kind}-adapter")
        both = base.keys() & tuned.keys()
        changed = sum(base[asked] != tuned[asked] for asked in both)
        report.figures[f"changed_by_adapter.{kind}"] = changed / len(both) if both else None
        report.meta[kind] = done | {"shared": shared}
        if kind != "transformers":
            here = answers(folder, "transformers")
            report.meta[f"margins.{kind}"] = sorted(
                round(margin(asked, here[asked], text), 3)
                for asked, text in base.items()
                if here.get(asked, text) != text
            )
            report.meta[f"equal_requests.{kind}"] = len(base.keys() & here.keys())
    report.goals = {
        "same_trees.vllm_transformers": (">=", 20),
        "same_trees.server_transformers": (">=", 20),
        "prefix_hits_vs_shared.vllm": (">=", 0.9),
        "prefix_hits_vs_shared.server": (">=", 0.9),
    }
    return report


def trees(folder: Path) -> list[Tree]:
    """The trees of a run."""
    with RunReader(folder) as run:
        return list(run.trees())


def same(these: Sequence[Tree], those: Sequence[Tree]) -> int:
    """Number of tasks with the same branches, endings, actions and replies."""
    shapes = (
        [
            [(b.parent, b.ending, [(s.action, s.reply) for s in b.steps]) for b in t.branches]
            for t in x
        ]
        for x in (these, those)
    )
    return sum(one == other for one, other in zip(*shapes, strict=True))


def answers(folder: Path, name: str) -> dict[str, str]:
    """Request -> the first reply to it."""
    found: dict[str, str] = {}
    for line in (folder / f"{name}.jsonl").read_text("utf-8").splitlines():
        asked, text = json.loads(line)
        found.setdefault(json.dumps(asked, sort_keys=True), text)
    return found


def margins(model: str) -> Callable[[str, str, str], float]:
    """(request, reply, other reply) -> log-probability of their first different tokens, minus."""
    import torch

    policy: Any = lg.policy("transformers", model=model, device="cpu")

    def margin(asked: str, reply: str, other: str) -> float:
        messages = json.loads(asked)[0]
        prompt = policy._chat.prompt(messages)[0]
        one, two = (
            [*policy._chat.tokenizer.encode(text), policy._chat.ends[0]] for text in (reply, other)
        )
        at = next((n for n, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), None)
        if at is None:
            return float("nan")
        with torch.no_grad():
            logits = policy.network(torch.tensor([[*prompt, *one[:at]]])).logits[0, -1].float()
        return float(logits[one[at]] - logits[two[at]])

    return margin


if __name__ == "__main__":
    main(measure)
