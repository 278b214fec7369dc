"""Verdicts, averages over seeds, and what is compared with what."""

from __future__ import annotations

import numpy as np
import pytest

from leafe_gym.evals.intervals import Interval
from leafe_gym.evals.reproduce.merge import Merged, verdict_of


@pytest.mark.parametrize(
    ("low", "high", "better", "at_least"),
    [
        (0.01, 0.2, "reproduced", "reproduced"),
        (0.0, 0.2, "undecided", "reproduced"),
        (-0.02, 0.2, "undecided", "reproduced"),
        (-0.03, 0.2, "undecided", "undecided"),
        (-0.03, -0.01, "reversed", "undecided"),
        (-0.3, -0.03, "reversed", "reversed"),
    ],
)
def test_verdicts(low: float, high: float, better: str, at_least: str) -> None:
    gap = Interval((low + high) / 2, low, high)
    assert verdict_of(gap) == better
    assert verdict_of(gap, at_least=True) == at_least


def seed(solved_at: list[float | None], used: list[float], chance: list[float]) -> dict:  # type: ignore[type-arg]
    spending = {
        unit: {"solved_at": solved_at, "used": used}
        for unit in ("interactions", "tokens_total", "tokens_uncached")
    }
    return {
        "stage1": {"interactions": 10, "methods": {"is": spending, "tree": spending}},
        "trained": {
            "success": {"base": chance, "grpo_0": chance, "grpo_1": [1.0] * len(chance)},
            "pool": [1],
            "recovery": {"base": [0.5], "grpo_0": [0.25], "grpo_1": [0.75]},
        },
    }


def test_runs_are_averaged_per_task() -> None:
    merged = Merged([seed([5, None], [5, 30], [0.5, 0.0]), seed([None, 20], [30, 20], [0.1, 0.2])])
    assert merged.models == ["base", "grpo"]
    assert merged.pass_at("base", 2).tolist() == pytest.approx([(0.75 + 0.19) / 2, (0 + 0.36) / 2])
    assert merged.pass_at("grpo", 1).tolist() == pytest.approx([(0.5 + 1 + 0.1 + 1) / 4, 0.55])
    assert merged.pass_at("grpo", 1, "recovery").tolist() == pytest.approx([0.5])


def test_budget_of_a_comparison() -> None:
    merged = Merged([seed([5, 20, None], [5, 20, 30], [0, 0, 0])])
    assert merged.solved("tree", "interactions").tolist() == [1, 0, 0], (
        "solved at 20 is beyond 10 interactions"
    )
    assert merged.solved("tree", "tokens_total").tolist() == [1, 1, 0], "known up to 30"


def test_difference_is_paired() -> None:
    merged = Merged([seed([5], [5], [0.5])])
    gap = merged.difference(np.array([1.0, 0.0, 1.0]), np.array([1.0, 0.0, 1.0]))
    assert (gap.mean, gap.low, gap.high) == (0, 0, 0)
