"""The folder of a training.

OUT/train.json      configuration and fingerprint of the rows; compared on resume
OUT/metrics.jsonl   one line an optimizer step
OUT/checkpoints/    weights, optimizer and random states; the last two are kept
OUT/model/          the trained model (adapters only, with `lora`), its tokenizer and card
OUT/base/           the merged model that a new adapter was trained on (`earlier_adapter="merge"`)
OUT/lock            held by the process that trains
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from leafe_gym._files import NOT_WRITTEN, open_lock, take_lock, write_text
from leafe_gym.errors import ConfigMismatch, StoreError, UsageError
from leafe_gym.types import Json

_WRITE_FAILED = re.compile(
    rf"os error ({'|'.join(map(str, NOT_WRITTEN))})\b|PytorchStreamWriter|unexpected pos \d"
)
"""In the messages of safetensors and torch where a disk takes no more."""
RESULT = "training.json"
"""Written last into the folder of the trained model: the training is complete."""
LOCK = "lock"
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
        began: the weights that the training began with, in words.
        chat_template_kwargs: arguments of the chat template that the rows' policy was prompted
            with; to evaluate the model with the same.
    """

    out: Path
    model: Path
    steps: int
    resumed_from: int
    last: Json
    tokens: int
    began: str = ""
    chat_template_kwargs: Mapping[str, Json] = field(default_factory=dict)


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Hold the lock of a training's folder; the first rank does so for all.

    Raises:
        UsageError: if it is a file, cannot be written, or another process trains in it.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; give a folder for the training")
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open_lock(folder / LOCK)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error}") from error
    with os.fdopen(lock):
        try:
            owner = take_lock(lock)
        except OSError as error:
            raise UsageError(
                f"{folder}: its file system cannot lock files ({error.strerror}), so two "
                "processes could train in it at once; use a folder on a local disk"
            ) from error
        if owner is not None:
            raise UsageError(
                f"{folder}: process {owner} is training in this folder; wait for it, or use "
                "another folder"
            )
        yield


@contextmanager
def named_write_errors(folder: Path) -> Iterator[None]:
    """What torch and safetensors raise where a file cannot be written, as an error that says so.

    Raises:
        StoreError: in their place.
    """
    try:
        yield
    except Exception as error:
        full = isinstance(error, OSError) and error.errno in NOT_WRITTEN
        if full or _WRITE_FAILED.search(str(error)):
            raise StoreError(
                f"{folder}: cannot be written ({error}); free some space, and the same call resumes"
            ) from error
        raise


def claim_folder(folder: Path, identity: Json, *, fresh: bool) -> None:
    """Prepare the folder for a training.

    Args:
        folder: of the training.
        identity: {"config", "rows", "model"}; what a resumed training must agree on.
        fresh: delete an earlier training in it.

    Raises:
        ConfigMismatch: if it holds a training of another identity that has taken a step.
    """
    writer = os.environ.get("RANK", "0") == "0"
    path = folder / "train.json"
    if fresh and writer:
        for name in ("checkpoints", "model", "base"):
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in ("train.json", "metrics.jsonl"):
            (folder / name).unlink(missing_ok=True)
    if not fresh and path.is_file() and (folder / "metrics.jsonl").is_file():
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored == identity:
            return
        raise ConfigMismatch(
            f"{folder} holds a training with other {_differences(stored, identity)}: use another "
            "folder, or start over: fresh=True, `leafe train --fresh`, or delete this folder"
        )
    if writer:
        shutil.rmtree(folder / "base", ignore_errors=True)  # of a training that took no step
        write_text(path, json.dumps(identity, indent=1) + "\n")


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
    write_text(path, "".join(lines))


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
        began=data.get("began", ""),
        chat_template_kwargs=data.get("chat_template_kwargs", {}),
    )
