"""The bases of the study, all pretrained on levels of training layouts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from leafe_gym.evals.study.waiting import alone
from leafe_gym.tiny.make_base import build
from leafe_gym.tiny.pretrain import NATURAL, Recipe

BLIND = 1e-3
"""The weight of blind pushes that the declared orderings are about."""
CURVE = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
"""All weights of blind pushes that are shown."""
SEEDS = 5
"""Pretraining seeds of the bases with declared orderings and of the natural base."""
CURVE_SEEDS = 3
"""Pretraining seeds at the other weights."""
NATURAL_NAME = "natural"


def blind_name(weight: float) -> str:
    """The name of the blind base with this weight, such as "blind-1e-03"."""
    return f"blind-{weight:.0e}"


NAMED = blind_name(BLIND)


def recipe(name: str, seed: int, changes: Mapping[str, Any] | None = None) -> Recipe:
    """How a base is trained.

    Args:
        name: "natural", or "blind-" and the weight of blind pushes.
        seed: of its pretraining.
        changes: fields that replace those of the recipe.
    """
    made = (
        NATURAL
        if name == NATURAL_NAME
        else Recipe(kind="blind", blind=float(name.partition("-")[2]), by_layout=True)
    )
    return replace(made, seed=seed, **(changes or {}))


def make_base(name: str, seed: int, folder: Path, changes: Mapping[str, Any] | None = None) -> Path:
    """The base in `folder`, pretrained if it is not there yet."""
    with alone(folder / "base"):
        return build(recipe(name, seed, changes), folder / "base")
