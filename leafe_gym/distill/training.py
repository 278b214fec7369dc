"""`train`: rows in, a trained checkpoint out. Resumable; one process, or several by `accelerate`.

OUT/train.json      settings and fingerprint of the rows; what a resume is compared with
OUT/metrics.jsonl   one line a step
OUT/checkpoints/    weights, optimiser and generators, the last two
OUT/model/          the trained model (adapters only, with `lora`), its tokenizer and card
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leafe_gym.distill.loss import KINDS, target_tokens
from leafe_gym.distill.records import Encoded
from leafe_gym.distill.settings import make_settings
from leafe_gym.errors import ConfigMismatch, MissingExtra, UsageError
from leafe_gym.types import Json

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Progress = Callable[[Json, int], None]
RESULT = "training.json"
"""Written last into the folder of the trained model: the training is complete."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """What a training left behind.

    Attributes:
        out: its folder.
        model: folder of the trained model.
        steps: optimiser steps of the whole training.
        resumed_from: step the last process went on from; 0 if it began.
        last: the last line of `metrics.jsonl`.
        tokens: tokens the model read, padding included.
    """

    out: Path
    model: Path
    steps: int
    resumed_from: int
    last: Json
    tokens: int


def train(
    rows: Sequence[Encoded] | str | Path,
    model: str | Path | PreTrainedModel,
    out: str | Path,
    *,
    recipe: str | None = "paper",
    resume: bool = True,
    report_to: Sequence[str] = (),
    progress: Progress | None = None,
    **settings: Any,
) -> TrainResult:
    """Distil rows into a model (paper: Stage 2); the same call with the same `out` resumes.

    Args:
        rows: encoded rows, or the folder of a `ShardSet`.
        model: folder or name of a checkpoint, a config for a fresh model, or a model.
        out: folder of this training.
        recipe: settings to begin with, "paper" or None; any given below overrides its own.
        resume: go on from the last complete checkpoint in `out`; False begins anew.
        report_to: also report to these, such as "wandb".
        progress: called after each step with its line of `metrics.jsonl` and the number of steps.
        **settings: fields of `TrainSettings`:
            epochs, lr, batch: as in the recipe; `batch` is rows of an optimiser step, all ranks.
            micro_batch: rows computed at once without packing; changes memory and time only.
            beta: weight of L_reh, default 1.0. normalise: "token" or "row" (`Denominators`).
            packing: "tree" computes shared prefixes once, "none" pads. pack_length: most tokens
            of a packed sequence; default the model's context, at most 8192.
            order: "shuffled", or "task" to keep rows of a task together (default with "tree").
            schedule, warmup, weight_decay, max_grad_norm: constant, 0, 0 and 1.0.
            lora, lora_rank: train adapters on all linear layers only.
            attention: "sdpa", "eager" or "flex_attention"; default sdpa, and flex_attention for
            tree packing on a GPU. bf16: compute in 16 bits; default on a GPU that can.
            activation_checkpointing, save_every (steps), seed.

    Raises:
        MissingExtra: without the extra "train".
        UsageError: for settings, rows or a model that cannot be used.
        ConfigMismatch: if `out` holds a training with other settings or rows.
        TrainingDiverged: if the loss is no longer finite; the last good weights are kept.
    """
    for name in ("torch", "transformers", "accelerate"):
        if importlib.util.find_spec(name) is None:
            raise MissingExtra("training", "train")
    chosen = make_settings(recipe, settings)
    if chosen.lora and importlib.util.find_spec("peft") is None:
        raise MissingExtra("lora", "train")
    if "wandb" in report_to and importlib.util.find_spec("wandb") is None:
        raise UsageError("report_to wandb needs it installed: pip install wandb")
    given, manifest = _open_rows(rows)
    longest, vocabulary = _check_rows(given)
    folder = Path(out)
    config: Json = {
        "settings": asdict(chosen),
        "rows": _fingerprint(given),
        "model": str(model) if isinstance(model, (str, Path)) else type(model).__name__,
    }
    _claim(folder, config, fresh=not resume)
    if resume and (folder / "model" / RESULT).is_file():
        return _result(folder, resumed_from=0)

    from leafe_gym.distill.build import build, finish, last_checkpoint

    trainer, used = build(
        given,
        model,
        folder,
        chosen,
        longest=longest,
        vocabulary=vocabulary,
        manifest=manifest,
        report_to=report_to,
        progress=progress,
    )
    trainer.accelerator.wait_for_everyone()
    start = last_checkpoint(folder / "checkpoints")
    begun = int(start.name.rpartition("-")[2]) if start else 0
    if trainer.is_world_process_zero():
        _trim_metrics(folder / "metrics.jsonl", begun)
    trainer.train(resume_from_checkpoint=str(start) if start else None)
    described = {"model": config["model"], **asdict(chosen), **used}
    finish(trainer, model, folder, described, _counts(given), manifest)
    return _result(folder, resumed_from=begun)


def _open_rows(rows: Sequence[Encoded] | str | Path) -> tuple[Sequence[Encoded], Json]:
    if isinstance(rows, (str, Path)):
        shards = importlib.import_module("leafe_gym.distill.shards")
        opened: Sequence[Encoded] = shards.ShardSet(Path(rows))
        return opened, getattr(opened, "manifest", {})
    return rows, getattr(rows, "manifest", {})


def _check_rows(rows: Sequence[Encoded]) -> tuple[int, int]:
    """Tokens of the longest row, and the largest token id."""
    if not len(rows):
        raise UsageError("there are no rows to train on: explore more tasks, or keep more rows")
    longest = largest = 0
    for index in range(len(rows)):
        row = rows[index]
        target_tokens(row)
        if row.kind not in KINDS:
            raise UsageError(f"row {index} is of kind {row.kind!r}: expected {' or '.join(KINDS)}")
        if min(row.ids) < 0:
            raise UsageError(f"row {index} holds the token id {min(row.ids)}: ids are >= 0")
        longest, largest = max(longest, len(row.ids)), max(largest, *row.ids)
    return longest, largest


def _fingerprint(rows: Sequence[Encoded]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for index in range(len(rows)):
        row = rows[index]
        digest.update(repr((row.ids, row.target_start, row.kind, row.task)).encode())
    return digest.hexdigest()


def _counts(rows: Sequence[Encoded]) -> dict[str, int]:
    kinds = [rows[index].kind for index in range(len(rows))]
    return {f"{kind}_rows": kinds.count(kind) for kind in KINDS}


def _claim(folder: Path, config: Json, *, fresh: bool) -> None:
    """Make the folder this training's, or refuse."""
    first = os.environ.get("RANK", "0") == "0"
    path = folder / "train.json"
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; give a folder for the training")
    if fresh and first:
        for name in ("checkpoints", "model"):
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in ("train.json", "metrics.jsonl"):
            (folder / name).unlink(missing_ok=True)
    if not fresh and path.is_file() and (folder / "metrics.jsonl").is_file():  # a step was taken
        held = json.loads(path.read_text(encoding="utf-8"))
        if held == config:
            return
        changed = [key for key in ("rows", "model") if held.get(key) != config[key]]
        old, new = held.get("settings", {}), config["settings"]
        changed += [key for key in new if old.get(key) != new[key]]
        raise ConfigMismatch(
            f"{folder} holds a training with other {', '.join(changed)}: use another folder, "
            "or begin anew with resume=False (--fresh)"
        )
    if first:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def _trim_metrics(path: Path, step: int) -> None:
    """Drop lines after the checkpoint that is resumed from; their steps are taken again."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError):
            break  # a line that was cut off
    path.write_text("".join(kept), encoding="utf-8")


def _result(folder: Path, *, resumed_from: int) -> TrainResult:
    path = folder / "model" / RESULT
    data = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return TrainResult(
        out=folder,
        model=folder / "model",
        steps=data.get("steps", 0),
        resumed_from=resumed_from,
        last=data.get("last", {}),
        tokens=data.get("tokens", 0),
    )
