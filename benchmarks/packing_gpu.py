"""Wall time of an epoch on a GPU: tree packing against TRL's packing, same model, same rows.

A Qwen2 configuration of about 120 M parameters, random weights, bf16. Without a GPU the figures
are skipped, and both sides only run once with a tiny model, so that the script is known to work.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from _harness import Report, alternate, main, median, ratio
from _peers import TRAIN
from packing import LIMIT, encoded, long_tasks

from leafe_gym.distill import TrainConfig, train
from leafe_gym.distill.data.row_types import Encoded

BATCH = 32
ROUNDS = 5
MATMUL = 8192
KEYS = ("gpu_speedup", "tokens_per_s", "memory_gb", "matrix_rate_fraction")
LARGE = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12}
TINY = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}


def measure() -> Report:
    """Compare on the GPU, or show on the CPU that both sides run."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        rows = encoded(run, set(long_tasks(run)))
    if not torch.cuda.is_available():
        few = [row for row in rows if len(row.ids) < 1500][:4]
        seconds = {name: side(few, TINY)() for name, side in SIDES.items()}
        why = "no GPU on this machine; run it on one: make bench NAME=packing_gpu"
        skipped = dict.fromkeys(KEYS, why)
        return Report(dict.fromkeys(KEYS), meta={"smoke_seconds": seconds}, skipped=skipped)
    torch.cuda.reset_peak_memory_stats()
    times = alternate({name: side(rows, LARGE) for name, side in SIDES.items()}, ROUNDS)
    tokens, parameters = sum(len(row.ids) for row in rows), size_of(LARGE)
    seconds = median(times["tree"])
    return Report(
        figures={
            "gpu_speedup": ratio(times["trl"], times["tree"]),
            "tokens_per_s": tokens / seconds,
            "memory_gb": torch.cuda.max_memory_allocated() / 2**30,
            "matrix_rate_fraction": 6 * parameters * tokens / seconds / matrix_rate(),
        },
        goals={"gpu_speedup": (">=", 2)},
        meta={
            "samples": ROUNDS,
            "gpu": torch.cuda.get_device_name(),
            "parameters": parameters,
            "rows": len(rows),
            "tokens_per_s": "tokens of the rows as they stand, shared prefixes counted each time",
            "matrix_rate_fraction": "6 x parameters x those tokens / s over a bf16 product's rate",
        },
    )


def build(shape: dict[str, int]) -> Any:
    """A model with random weights, the same each time."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    heads = max(2, shape["hidden_size"] // 64)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=512,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=2 * LIMIT,
        **shape,
    )
    return Qwen2ForCausalLM(config)


def size_of(shape: dict[str, int]) -> int:
    """Parameters of a model."""
    return sum(parameter.numel() for parameter in build(shape).parameters())


def tree(rows: Sequence[Encoded], shape: dict[str, int]) -> Callable[[], float]:
    """Seconds of an epoch with tree packing."""

    def epoch() -> float:
        model = build(shape)
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            config = TrainConfig(epochs=1, lr=1e-6, batch=BATCH, packing="tree", pack_length=LIMIT)
            train(rows, model=model, out=folder, config=config)
            wait()
            return time.perf_counter() - began

    return epoch


def trl(rows: Sequence[Encoded], shape: dict[str, int]) -> Callable[[], float]:
    """Seconds of an epoch with TRL's packing of the same rows."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from leafe_gym.distill.data.byte_tokenizer import byte_tokenizer

    def epoch() -> float:
        masks = [[int(at >= row.target_start) for at in range(len(row.ids))] for row in rows]
        ids = [list(row.ids) for row in rows]
        data = Dataset.from_dict({"input_ids": ids, "completion_mask": masks})
        gpu = torch.cuda.is_available()
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            config = SFTConfig(
                output_dir=folder,
                packing=True,
                max_length=LIMIT,
                per_device_train_batch_size=1,
                num_train_epochs=1,
                learning_rate=1e-6,
                bf16=gpu,
                use_cpu=not gpu,
                report_to=[],
                save_strategy="no",
                disable_tqdm=True,
                activation_checkpointing=False,
            )
            model = build(shape)
            SFTTrainer(model, config, train_dataset=data, processing_class=byte_tokenizer()).train()
            wait()
            return time.perf_counter() - began

    return epoch


SIDES = {"tree": tree, "trl": trl}


def wait() -> None:
    """Until the GPU has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def matrix_rate() -> float:
    """Operations a second of a large bf16 matrix product on this GPU."""
    left = torch.randn(MATMUL, MATMUL, device="cuda", dtype=torch.bfloat16)
    left @ left
    wait()
    began = time.perf_counter()
    for _ in range(20):
        left @ left
    wait()
    return 20 * 2 * MATMUL**3 / (time.perf_counter() - began)


if __name__ == "__main__":
    main(measure, peer=TRAIN)
