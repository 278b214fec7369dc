"""Verdicts, averages over seeds, and what is compared with what."""

from __future__ import annotations

import numpy as np
import pytest

from leafe_gym.budget import Spend
from leafe_gym.evals.bench import UNIT_KEYS, MethodOutcome
from leafe_gym.evals.reproduce.merge import EXPLORATORY, Merged, corrected, largest_known
from leafe_gym.evals.reproduce.run_base import spending


@pytest.mark.parametrize(
    ("mean", "p_value", "better", "at_least"),
    [
        (0.1, 0.001, "reproduced", "reproduced"),
        (-0.01, 0.001, "reversed", "reproduced"),
        (-0.1, 0.001, "reversed", "reversed"),
        (0.1, 0.3, "undecided", "undecided"),
    ],
)
def test_verdicts(mean: float, p_value: float, better: str, at_least: str) -> None:
    one = {"mean": mean, "low": 0.0, "high": 0.0, "p_value": p_value}
    assert corrected({"a_gt_b": one})["a_gt_b"]["verdict"] == better
    assert corrected({"a_ge_b": one})["a_ge_b"]["verdict"] == at_least


def test_verdicts_are_corrected_together_and_models_have_none() -> None:
    one = {"mean": 0.1, "low": 0.01, "high": 0.2, "p_value": 0.03}
    alone = corrected({"a_gt_b": one})
    both = corrected({"a_gt_b": one, "c_gt_d": one, "e_gt_f": {"mean": 0.5}})
    assert alone["a_gt_b"]["verdict"] == "reproduced"
    assert [both[name]["verdict"] for name in both] == ["undecided", "undecided", EXPLORATORY]


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
    assert merged.pass_at("base", 2) == pytest.approx(np.array([[0.75, 0], [0.19, 0.36]]))
    assert merged.pass_at("grpo", 1) == pytest.approx(np.array([[0.75, 0.5], [0.55, 0.6]]))
    assert merged.pass_at("grpo", 1, "recovery") == pytest.approx(np.array([[0.5], [0.5]]))


def test_seeds_with_other_states_in_the_pool() -> None:
    first, second = (seed([5, None], [5, 30], [0.5, 0.0]) for _ in range(2))
    second["trained"]["pool"] = [0]
    found = Merged([first, second]).pass_at("base", 1, "recovery")
    assert found == pytest.approx(np.array([[np.nan, 0.5], [0.5, np.nan]]), nan_ok=True)


def test_budget_of_a_comparison() -> None:
    merged = Merged([seed([5, 20, None], [5, 20, 30], [0, 0, 0])])
    assert merged.solved("tree", "interactions").tolist() == [[1, 0, 0]], (
        "solved at 20 is beyond 10 interactions"
    )
    assert merged.solved("tree", "tokens_total").tolist() == [[1, 1, 0]], "known up to 30"


@pytest.mark.parametrize(
    ("used", "solved_at", "known"),
    [
        ([700.0, 900.0], [None, 300.0], 700.0),
        ([None, 700.0, 900.0], [None, None, 300.0], 700.0),
        ([None, None, 650.0], [None, None, None], 650.0),
        ([None], [None], float("inf")),
    ],
)
def test_tasks_that_errors_ended_do_not_zero_the_budget(
    used: list[float | None], solved_at: list[float | None], known: float
) -> None:
    assert largest_known({"used": used, "solved_at": solved_at}) == known


def test_spending_marks_tasks_that_errors_ended() -> None:
    units = UNIT_KEYS.values()
    outcome = MethodOutcome(
        solved_at={unit: np.array([np.inf, np.inf, 5.0]) for unit in units},
        used={unit: np.array([0.0, 9.0, 5.0]) for unit in units},
        ledger=Spend(), token_sources=[], broken=np.array([True, False, False]),
    )  # fmt: skip
    for one in spending(outcome).values():
        assert one == {"used": [None, 9.0, 5.0], "solved_at": [None, None, 5.0]}
        assert largest_known(one) == 9
