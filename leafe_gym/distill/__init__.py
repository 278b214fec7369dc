"""From trees to trained weights (paper: Stage 2). Reads run folders; needs no environment.

records.py         a row as text, a row as tokens
dataset.py         `rows(run, ...)`: the rows of a run, streamed
select.py          which steps of one tree become rows
leaks.py           does a row tell what only the experience said?
planted.py         how much of what is planted the leak check finds
extras.py          optional dependencies, on first use
export.py          rows as TRL, JSON lines, verl and preference data
tokens.py          a row as token ids, with the loss on the target only
byte_tokenizer.py  a small tokenizer that needs no download
shards.py          pre-tokenised rows on disk, memory-mapped
loss.py            L_cf + beta * L_reh over whole optimiser batches
packing.py         shared prefixes once: a forest of rows as one sequence
pack_model.py      what a model needs to read such a sequence
batches.py         which rows each optimiser step sees
collate.py         those rows as tensors
settings.py        how to train, and recipes
training.py        `train`: rows in, a trained checkpoint out
models.py, build.py, trainer.py, card.py   its parts; loaded by `train` only
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leafe_gym.distill.dataset import RECIPES as RECIPES
    from leafe_gym.distill.dataset import Rows as Rows
    from leafe_gym.distill.dataset import rows as rows
    from leafe_gym.distill.records import Encoded as Encoded
    from leafe_gym.distill.records import Row as Row
    from leafe_gym.distill.shards import ShardSet as ShardSet
    from leafe_gym.distill.tokens import encode as encode
    from leafe_gym.distill.training import TrainResult as TrainResult
    from leafe_gym.distill.training import train as train

_HOME = {
    "Encoded": "leafe_gym.distill.records",
    "RECIPES": "leafe_gym.distill.dataset",
    "Row": "leafe_gym.distill.records",
    "Rows": "leafe_gym.distill.dataset",
    "ShardSet": "leafe_gym.distill.shards",
    "TrainResult": "leafe_gym.distill.training",
    "encode": "leafe_gym.distill.tokens",
    "rows": "leafe_gym.distill.dataset",
    "train": "leafe_gym.distill.training",
}
"""Public name -> the module it lives in; no module has the name of a function here."""

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'leafe_gym.distill' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
