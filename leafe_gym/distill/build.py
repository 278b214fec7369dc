"""Putting a training together and writing down what came of it; the part of `train` with torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, TrainingArguments
from transformers.utils import logging

from leafe_gym.distill.batches import Plan
from leafe_gym.distill.card import write_card
from leafe_gym.distill.collate import BatchLoader, Layout, flex_multiple
from leafe_gym.distill.models import (
    add_lora,
    check_tokenizer,
    context_length,
    load_model,
    own_tokenizer,
    takes,
)
from leafe_gym.distill.pack_model import check_packable, prove_packable
from leafe_gym.distill.records import Encoded
from leafe_gym.distill.settings import TrainSettings
from leafe_gym.distill.trainer import COMPLETE, TwoTermTrainer
from leafe_gym.distill.training import RESULT, Progress
from leafe_gym.errors import UsageError
from leafe_gym.types import Json

MOST_PACKED = 8192
"""Our default limit of a packed sequence; a mask over more is large without FlexAttention."""


def build(
    rows: Sequence[Encoded],
    model: str | Path | PreTrainedModel,
    out: Path,
    settings: TrainSettings,
    *,
    longest: int,
    vocabulary: int,
    manifest: Json,
    report_to: Sequence[str],
    progress: Progress | None,
) -> tuple[TwoTermTrainer, Json]:
    """The trainer, and the settings that were left to the machine.

    Args:
        rows: encoded rows.
        model: see `train`.
        out: folder of the training.
        settings: checked settings.
        longest: tokens of the longest row.
        vocabulary: largest token id in the rows.
        manifest: of the rows.
        report_to: other places for metrics.
        progress: see `train`.

    Raises:
        UsageError: if the rows do not fit the model.
    """
    if progress is not None:
        logging.disable_progress_bar()  # the caller shows its own
    gpu = torch.cuda.is_available()
    tree = settings.packing == "tree"
    attention = settings.attention or ("flex_attention" if tree and gpu else "sdpa")
    bf16 = settings.bf16
    if bf16 is None:
        bf16 = gpu and torch.cuda.is_bf16_supported()
    network = load_model(model, attention, settings.seed)
    text = network.config.get_text_config()
    _check_fit(text, longest, vocabulary)
    check_tokenizer(own_tokenizer(model), manifest)
    keep = takes(network, "logits_to_keep")
    if tree:
        check_packable(text, network.forward, attention, longest)
        prove_packable(network, attention)
    if settings.lora:
        network = add_lora(network, settings.lora_rank)
    plan = Plan(
        rows,
        batch=settings.batch,
        epochs=settings.epochs,
        order=settings.resolved_order,
        seed=settings.seed,
    )
    layout = Layout(
        packing=settings.packing,
        micro_batch=settings.micro_batch,
        pack_length=settings.pack_length or max(MOST_PACKED, longest),
        keep=keep,
        multiple=flex_multiple(attention),
        normalise=settings.normalise,
    )
    trainer = TwoTermTrainer(
        network,
        _arguments(settings, out, report_to, bf16=bf16, gpu=gpu),
        BatchLoader(rows, plan, layout),
        beta=settings.beta,
        attention=attention,
        metrics=out / "metrics.jsonl",
        progress=progress,
    )
    used = {
        "attention": attention,
        "bf16": bf16,
        "order": settings.resolved_order,
        "pack_length": layout.pack_length if tree else None,
        "torch": torch.__version__,
    }
    return trainer, used


def _arguments(
    settings: TrainSettings, out: Path, report_to: Sequence[str], *, bf16: bool, gpu: bool
) -> TrainingArguments:
    """What `transformers.Trainer` is to do; one of its batches is one of our optimiser steps."""
    return TrainingArguments(
        output_dir=str(out / "checkpoints"),
        num_train_epochs=1,  # the plan holds all of ours
        per_device_train_batch_size=1,
        gradient_accumulation_steps=1,
        learning_rate=settings.lr,
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        bf16=bf16,
        use_cpu=not gpu,
        **_checkpointing(settings.activation_checkpointing),
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=settings.save_every,
        save_total_limit=2,
        seed=settings.seed % 2**32,
        report_to=list(report_to) or "none",
        remove_unused_columns=False,
        disable_tqdm=True,
        ddp_find_unused_parameters=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
    )


def _checkpointing(wanted: bool) -> dict[str, Any]:
    """The arguments by the name that this version of transformers has for them."""
    if not wanted:
        return {}
    new = "activation_checkpointing" in TrainingArguments.__dataclass_fields__
    name = "activation_checkpointing" if new else "gradient_checkpointing"
    return {name: True, f"{name}_kwargs": {"use_reentrant": False}}


def _check_fit(config: Any, longest: int, vocabulary: int) -> None:
    context = context_length(config)
    if context is not None and longest > context:
        raise UsageError(
            f"the longest row has {longest} tokens and the model's context is {context}: make the "
            f"rows with max_length={context} (leafe distill --max-length), or use a model that "
            "reads more"
        )
    size = getattr(config, "vocab_size", None)
    if size is not None and vocabulary >= size:
        raise UsageError(
            f"the rows hold the token id {vocabulary} and the model knows {size} tokens: encode "
            "the rows with the tokenizer of this model"
        )


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is complete; None without one."""
    found = [path.parent for path in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def finish(
    trainer: TwoTermTrainer,
    model: str | Path | PreTrainedModel,
    out: Path,
    settings: Json,
    counts: Json,
    manifest: Json,
) -> None:
    """Save the trained model with its tokenizer, card and figures."""
    folder = out / "model"
    trainer.save_model(str(folder))
    if trainer.is_world_process_zero():
        tokenizer = own_tokenizer(model)
        if tokenizer is not None:
            tokenizer.save_pretrained(str(folder))
        lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        steps = [json.loads(line) for line in lines]
        last = steps[-1] if steps else {}
        tokens = sum(step["tokens"] for step in steps)
        terms = {name: last.get(name) for name in ("loss", "loss_cf", "loss_reh")}
        write_card(
            folder,
            settings=settings,
            results={**counts, "steps": len(steps), "tokens_read": tokens, **terms},
            manifest=manifest,
        )
        done = {"steps": trainer.state.global_step, "last": last, "tokens": tokens}
        (folder / RESULT).write_text(json.dumps(done, indent=1) + "\n", encoding="utf-8")
    trainer.accelerator.wait_for_everyone()
