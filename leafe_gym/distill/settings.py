"""Settings of a training, checked before anything is loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

from leafe_gym.distill.batches import Order
from leafe_gym.distill.collate import Packing
from leafe_gym.distill.loss import BETA, Normalise
from leafe_gym.errors import UsageError

RECIPES: Mapping[str, Mapping[str, Any]] = {
    "paper": {"batch": 128, "lr": 1e-6, "epochs": 2},
}
"""Named settings. "paper": batch 128, learning rate 1e-6, 2 to 3 epochs of which we take 2
(paper: Stage 2, settings); the rest of our defaults is not in the paper."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """How to train; see `train` for the meaning of each."""

    epochs: int = 2
    lr: float = 1e-6
    batch: int = 128
    micro_batch: int = 8
    beta: float = BETA
    normalise: Normalise = "token"
    packing: Packing = "none"
    pack_length: int | None = None
    order: Order | None = None
    schedule: str = "constant"
    warmup: int = 0
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    lora: bool = False
    lora_rank: int = 16
    attention: str | None = None
    bf16: bool | None = None
    activation_checkpointing: bool = False
    save_every: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "micro_batch", "lora_rank", "save_every"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}={getattr(self, name)}: expected a whole number >= 1")
        for name in ("lr", "beta", "weight_decay", "max_grad_norm", "warmup"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise UsageError(f"{name}={value}: expected a finite number >= 0")
        if self.pack_length is not None and self.pack_length < 2:
            raise UsageError(f"pack_length={self.pack_length}: expected a whole number >= 2")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"seed={self.seed}: expected 0 to 2**63 - 1")
        known: dict[str, tuple[Any, ...]] = {
            "normalise": get_args(Normalise),
            "packing": get_args(Packing),
            "order": (*get_args(Order), None),
            "schedule": ("constant", "linear", "cosine"),
        }
        for name, allowed in known.items():
            value = getattr(self, name)
            if value not in allowed:
                shown = ", ".join(str(one) for one in allowed if one is not None)
                raise UsageError(f"{name}={value!r}: expected one of {shown}")

    @property
    def resolved_order(self) -> Order:
        """Rows of a task stay together under tree packing, else all rows are mixed."""
        return self.order or ("task" if self.packing == "tree" else "shuffled")


def make_settings(recipe: str | None, given: Mapping[str, Any]) -> TrainSettings:
    """A recipe's settings, changed by those given (None: not given).

    Raises:
        UsageError: for an unknown recipe or setting, or a value that cannot be.
    """
    if recipe is not None and recipe not in RECIPES:
        raise UsageError(f"recipe={recipe!r}: expected one of {', '.join(RECIPES)}, or None")
    chosen = dict(RECIPES[recipe]) if recipe else {}
    chosen |= {name: value for name, value in given.items() if value is not None}
    unknown = sorted(set(chosen) - set(TrainSettings.__dataclass_fields__))
    if unknown:
        raise UsageError(f"train has no setting {', '.join(unknown)}")
    return replace(TrainSettings(), **chosen)
