"""From trees to trained weights (paper: Stage 2). Reads run folders; needs no environment.

data/      trees to rows: selection, leak check, export, tokens, shards
training/  rows to weights: the two-term loss, tree packing, resumable training
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leafe_gym.distill.data.config import RowConfig as RowConfig
    from leafe_gym.distill.data.dataset import Rows as Rows
    from leafe_gym.distill.data.dataset import rows as rows
    from leafe_gym.distill.data.row_types import Encoded as Encoded
    from leafe_gym.distill.data.row_types import Row as Row
    from leafe_gym.distill.data.shards import ShardSet as ShardSet
    from leafe_gym.distill.data.tokens import encode as encode
    from leafe_gym.distill.training.checkpoints import TrainResult as TrainResult
    from leafe_gym.distill.training.config import TrainConfig as TrainConfig
    from leafe_gym.distill.training.train import train as train

_HOME = {
    "Encoded": "leafe_gym.distill.data.row_types",
    "Row": "leafe_gym.distill.data.row_types",
    "RowConfig": "leafe_gym.distill.data.config",
    "Rows": "leafe_gym.distill.data.dataset",
    "ShardSet": "leafe_gym.distill.data.shards",
    "TrainConfig": "leafe_gym.distill.training.config",
    "TrainResult": "leafe_gym.distill.training.checkpoints",
    "encode": "leafe_gym.distill.data.tokens",
    "rows": "leafe_gym.distill.data.dataset",
    "train": "leafe_gym.distill.training.train",
}
"""Public name -> the module it lives in."""

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'leafe_gym.distill' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
