"""Settings of the methods, the ranges they are tuned over, and the trials drawn from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from leafe_gym.distill.training.config import Divergence, RowWeight, TeacherWeights
from leafe_gym.seeds import derive_rng
from leafe_gym.types import Json

TRIALS = 12
"""Of each method; the first is the published setting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How one method is run; the defaults are those of the earlier published figures.

    Attributes:
        temperature: of acting while data are collected.
        lr: peak learning rate.
        steps: optimizer steps of supervised training.
        beta: weight of L_reh.
        cf_epochs: most passes over the counterfactual rows.
        keep: see `RowConfig.keep`.
        divergence: see `TrainConfig.divergence`.
        teacher_weights: see `TrainConfig.teacher_weights`.
        weight: see `TrainConfig.weight`.
        predict: share of the optimizer steps of Early Experience that predict.
        group: rollouts of a group.
        clip: how far the ratio of probabilities may move, down and up; None for no limit.
        epochs: passes over each batch of GRPO.
        entropy: weight of the entropy bonus of GRPO.
    """

    temperature: float = 1.0
    lr: float = 5e-4
    steps: int = 250
    beta: float = 1.0
    cf_epochs: int = 3
    keep: Literal["successful", "improved", "all"] = "successful"
    divergence: Divergence = "forward"
    teacher_weights: TeacherWeights = "frozen"
    weight: RowWeight = "one"
    predict: float = 1 / 3
    group: int = 8
    clip: tuple[float, float] | None = None
    epochs: int = 1
    entropy: float = 0.0

    @classmethod
    def read(cls, written: Mapping[str, Json]) -> Setting:
        """A setting from its fields as JSON."""
        plain: dict[str, Any] = dict(written)
        if plain.get("clip"):
            plain["clip"] = tuple(plain["clip"])
        return cls(**plain)

    def only(self, names: Mapping[str, Any]) -> dict[str, Json]:
        """The fields in `names`, for JSON."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name in names}


Range = tuple[float, float]
"""Least and most value; drawn evenly on a logarithmic scale."""
Space = dict[str, Range | list[Any]]
"""A range or a list of choices for each field that is varied."""

SUPERVISED: Space = {
    "temperature": [1.0, 1.25, 1.5, 2.0],
    "lr": (2e-4, 2e-3),
    "steps": [100, 250, 500, 1000],
}
LEAFE: Space = SUPERVISED | {"beta": [0.3, 1.0, 3.0], "cf_epochs": [1, 2, 3]}
SAMPLED: Space = LEAFE | {"keep": ["successful", "improved"]}
KL: Space = LEAFE | {
    "divergence": ["forward", "reverse", "js"],
    "teacher_weights": ["frozen", "average"],
    "weight": ["one", "gain"],
}
GRPO: Space = {
    "temperature": [1.0, 1.25, 1.5, 2.0],
    "lr": (1e-4, 2e-3),
    "group": [4, 8, 16],
    "clip": [None, (0.2, 0.2), (0.2, 0.28)],
    "epochs": [1, 2, 4],
    "entropy": [0.0, 1e-3, 1e-2],
}
SPACES: dict[str, Space] = {
    "rft": SUPERVISED,
    "early": SUPERVISED | {"predict": [0.2, 1 / 3, 0.5]},
    "grpo": GRPO,
    "reh": SUPERVISED,
    "reh_random": SUPERVISED,
    "leafe_paper": LEAFE,
    "leafe": SAMPLED,
    "leafe_empty": SAMPLED,
    "leafe_other": SAMPLED,
    "leafe_kl": KL,
    "kl_unverified": {name: among for name, among in KL.items() if name != "weight"},
    "kl_everywhere": KL,
}
"""What is varied for each method that is tuned."""


def trials(method: str, count: int = TRIALS) -> list[Setting]:
    """The settings that are tried for a method, the published one first.

    The value of a field in trial `n` is the same for all methods with the same range for it.
    """
    space = SPACES[method]
    return [Setting()] + [
        Setting(**{name: _drawn(name, among, number) for name, among in space.items()})
        for number in range(1, count)
    ]


def _drawn(name: str, among: Range | list[Any], number: int) -> Any:
    rng = derive_rng(0, "trial", name, number)
    if isinstance(among, list):
        return among[int(rng.integers(0, len(among)))]
    low, high = (math.log(one) for one in among)
    return float(f"{math.exp(rng.uniform(low, high)):.2g}")
