"""Tree packing against plain forms of the same rows: tokens a model reads, and exactness.

Rows as the recipe `paper` takes them from trees of the scripted player on Sokoban, chats with the
full history, one token a byte. `token_ratio`: tree packing / TRL's packing of the same rows.
`token_ratio_transcript`: / the strongest plain form, one transcript a path from the root to a leaf
that trains all its targets at once, cut after its last target, each target trained once; it needs
a loss on several turns of a chat. `loss_error` and `grad_error`: largest difference from the rows
taken one by one, 32-bit, relative to the largest entry.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _harness import Report, main
from _peers import TRAIN

import leafe_gym as lg
from leafe_gym.distill import RowConfig
from leafe_gym.distill import rows as rows_of
from leafe_gym.distill.data.row_types import Encoded
from leafe_gym.distill.training.batch_plan import BatchPlan
from leafe_gym.distill.training.loss import LossNormalizer
from leafe_gym.distill.training.packing import pack
from leafe_gym.store.reader import RunReader

TASKS = 64
INTERACTIONS = 600
SHORTEST_ROOT = 20
BATCH = 128
LIMIT = 8_192
COMPARED = 32
"""Rows of the comparison of gradients, of as many tasks as that takes."""


def measure() -> Report:
    """Explore, make rows, count tokens in each form, compare gradients."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        tasks = long_tasks(run)
        rows = encoded(run, set(tasks))
    batches = batched(rows)
    packed = [pack(batch, LossNormalizer.of(batch), LIMIT) for batch in batches]
    whole = [pack(batch, LossNormalizer.of(batch), 10**9) for batch in batches]
    ours = sum(len(part) for parts in packed for part in parts)
    uncut = sum(len(part) for parts in whole for part in parts)
    theirs = trl_tokens(rows)
    plain = sum(transcript_tokens(batch) for batch in batches)
    loss_error, grad_error, compared = errors(rows)
    kinds = [row.kind for row in rows]
    return Report(
        figures={
            "token_ratio": ours / theirs,
            "token_ratio_transcript": ours / plain,
            "token_ratio_uncut": uncut / theirs,
            "token_ratio_transcript_uncut": uncut / plain,
            "loss_error": loss_error,
            "grad_error": grad_error,
        },
        goals={
            "token_ratio": ("<=", 0.34),
            "token_ratio_transcript": ("<=", 0.7),
            "loss_error": ("<=", 1e-5),
            "grad_error": ("<=", 1e-5),
        },
        meta={
            "samples": len(rows),
            "tasks": len({row.task for row in rows}),
            "median_root_steps": statistics.median(tasks.values()),
            "counterfactual_rows": kinds.count("counterfactual"),
            "rehearsal_rows": kinds.count("rehearsal"),
            "batch": BATCH,
            "pack_length": LIMIT,
            "tokens_packed": ours,
            "tokens_trl": theirs,
            "tokens_transcripts": plain,
            "longest_row": max(len(row.ids) for row in rows),
            "rows_compared": compared,
        },
    )


def long_tasks(folder: Path) -> dict[str, int]:
    """Explore into `folder`; tasks whose first attempt has enough steps, with their number."""
    policy = lg.policy("scripted")
    tasks = lg.tasks("leafe/Sokoban-v0", split="train", boxes=2, size=7, max_steps=40)[:TASKS]
    agent = lg.ReflectiveTreeAgent(policy)
    lg.explore(agent, tasks, budget=lg.Budget(interactions=INTERACTIONS), out=folder).close()
    found = {}
    with RunReader(folder) as run:
        for tree in run.trees():
            steps = len(tree.branches[0].steps)
            if steps >= SHORTEST_ROOT:
                found[tree.task.id] = steps
    return found


def encoded(folder: Path, tasks: set[str]) -> list[Encoded]:
    """The rows of the recipe `paper`, one token a byte."""
    from leafe_gym.distill.data.byte_tokenizer import byte_tokenizer
    from leafe_gym.distill.data.tokens import Encoder

    encoder = Encoder(byte_tokenizer())
    made = [encoder.encode(row) for row in rows_of(folder, RowConfig.paper())]
    return [row for row in made if row is not None and row.task in tasks]


def batched(rows: Sequence[Encoded]) -> list[list[Encoded]]:
    """One epoch of optimizer batches, as the trainer forms them."""
    plan = BatchPlan(rows, batch=BATCH, epochs=1, order="task", seed=0)
    return [[rows[index] for index in plan[step]] for step in range(len(plan))]


def trl_tokens(rows: Sequence[Encoded]) -> int:
    """Tokens of the rows packed by TRL's best strategy; nothing is cut at this length."""
    from datasets import Dataset
    from trl import pack_dataset

    data = Dataset.from_dict({"input_ids": [list(row.ids) for row in rows]})
    packed = pack_dataset(data, seq_length=LIMIT, strategy="bfd")
    return sum(len(ids) for ids in packed["input_ids"])


def transcript_tokens(rows: Sequence[Encoded]) -> int:
    """Tokens of one transcript a path; a row inside another's prompt needs none of its own."""
    ordered = sorted({row.ids for row in rows})
    following = [*ordered[1:], ()]
    return sum(
        len(ids) for ids, after in zip(ordered, following, strict=True) if after[: len(ids)] != ids
    )


def errors(rows: Sequence[Encoded]) -> tuple[float, float, int]:
    """Packed against one by one: loss and gradients of a tiny random model."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from leafe_gym.distill.training.collate import MicroBatchLayout
    from leafe_gym.distill.training.loss import weighted_loss
    from leafe_gym.distill.training.packed_attention import forward_inputs

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=300, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, initializer_range=0.125,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config)
    chosen = [
        rows[index] for index in BatchPlan(rows, batch=COMPARED, epochs=1, order="task", seed=0)[0]
    ]

    def run(layout: MicroBatchLayout) -> tuple[float, dict[str, Any]]:
        model.zero_grad()
        total = 0.0
        for micro in layout.split(chosen):
            logits = model(**forward_inputs(micro, "sdpa", torch.float32)).logits.flatten(0, 1)
            terms = weighted_loss(logits[micro["at"]], micro["labels"], micro["shares"])
            terms.total.backward()
            total += terms.total.item()
        return total, {name: p.grad.clone() for name, p in model.named_parameters()}

    plain, reference = run(MicroBatchLayout(micro_batch=1))
    ours, gradients = run(MicroBatchLayout(packing="tree", pack_length=LIMIT))
    largest = max(one.abs().max().item() for one in reference.values())
    worst = max((gradients[name] - one).abs().max().item() for name, one in reference.items())
    return abs(ours - plain) / abs(plain), worst / largest, len(chosen)


if __name__ == "__main__":
    main(measure, peer=TRAIN)
