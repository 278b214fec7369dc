"""How much of the study is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from leafe_gym.evals.study.settings import TRIALS


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyScale:
    """Sizes; the defaults are those of the protocol.

    Attributes:
        train_levels: training levels.
        interactions: budget a training level, for every method.
        val_levels: validation levels, on which settings are chosen.
        test_levels: test levels; the generator has 289 layouts for 300 that the protocol asks for.
        elsewhere_levels: levels of each kind out of distribution.
        stage1_levels: test levels on which samplers are compared.
        stage1_interactions: their budget a level.
        trials: settings tried for each method.
        grpo_runs: training seeds of GRPO on each base.
        rounds: rounds of exploration and training, which share the budget.
        batch: rows of an optimizer step.
        recipe: fields of the bases' recipes that replace their own.
        steps: factor on the optimizer steps of a setting.
    """

    train_levels: int = 100
    interactions: int = 400
    val_levels: int = 60
    test_levels: int = 280
    elsewhere_levels: int = 100
    stage1_levels: int = 100
    stage1_interactions: int = 100
    trials: int = TRIALS
    grpo_runs: int = 5
    rounds: int = 4
    batch: int = 64
    recipe: Mapping[str, Any] = field(default_factory=dict)
    steps: float = 1.0


STUDY = StudyScale()
