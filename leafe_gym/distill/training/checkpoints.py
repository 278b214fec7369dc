"""The folder of a training.

OUT/train.json      configuration and fingerprint of the rows; compared on resume
OUT/metrics.jsonl   one line an optimizer step
OUT/checkpoints/    weights, optimizer and random states; the last two are kept
OUT/model/          the trained model (adapters only, with `lora`), its tokenizer and card
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from leafe_gym.errors import ConfigMismatch, UsageError
from leafe_gym.types import Json

RESULT = "training.json"
"""Written last into the folder of the trained model: the training is complete."""
COMPLETE = "complete"
"""Empty file that is written last: a checkpoint without it is incomplete and is not used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """The outcome of a training.

    Attributes:
        out: its folder.
        model: folder of the trained model.
        steps: optimizer steps of the whole training.
        resumed_from: the optimizer step from which the last process resumed; 0 if it began.
        last: the last line of `metrics.jsonl`.
        tokens: tokens that the model read, padding included.
    """

    out: Path
    model: Path
    steps: int
    resumed_from: int
    last: Json
    tokens: int


def claim_folder(folder: Path, identity: Json, *, fresh: bool) -> None:
    """Prepare the folder for a training.

    Args:
        folder: of the training.
        identity: {"config", "rows", "model"}; what a resumed training must agree on.
        fresh: delete an earlier training in it.

    Raises:
        UsageError: if it is a file.
        ConfigMismatch: if it holds a training of another identity that has taken a step.
    """
    writer = os.environ.get("RANK", "0") == "0"
    path = folder / "train.json"
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; give a folder for the training")
    if fresh and writer:
        for name in ("checkpoints", "model"):
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in ("train.json", "metrics.jsonl"):
            (folder / name).unlink(missing_ok=True)
    if not fresh and path.is_file() and (folder / "metrics.jsonl").is_file():
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored == identity:
            return
        raise ConfigMismatch(
            f"{folder} holds a training with other {_differences(stored, identity)}: use another "
            "folder, or start over with fresh=True (--fresh)"
        )
    if writer:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(identity, indent=1) + "\n", encoding="utf-8")


def _differences(stored: Json, identity: Json) -> str:
    """The fields that differ, configuration fields with their stored and new values."""
    names = [name for name in ("rows", "model") if stored.get(name) != identity[name]]
    old, new = stored.get("config", {}), identity["config"]
    names += [
        f"{name} ({old.get(name)!r} there, {new[name]!r} here)"
        for name in new
        if old.get(name) != new[name]
    ]
    return ", ".join(names)


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint; None without one."""
    found = [path.parent for path in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(found, key=checkpoint_step, default=None)


def checkpoint_step(folder: Path) -> int:
    """The optimizer step after which a checkpoint was saved."""
    return int(folder.name.rpartition("-")[2])


def trim_metrics(path: Path, step: int) -> None:
    """Drop the lines after `step`: those optimizer steps are taken again."""
    if not path.is_file():
        return
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                lines.append(line + "\n")
        except (ValueError, KeyError):
            break  # a truncated line
    path.write_text("".join(lines), encoding="utf-8")


def read_result(folder: Path, *, resumed_from: int) -> TrainResult:
    """The result of a training, from its folder."""
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
