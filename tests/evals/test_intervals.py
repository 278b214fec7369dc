"""Intervals: coverage, edges, two ways at once, and tasks that failed."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from leafe_gym.budget import Spend
from leafe_gym.evals.bench import UNIT_KEYS, Bench, MethodOutcome
from leafe_gym.evals.intervals import (
    _half_width,
    _t_quantile,
    _t_tail,
    _variances,
    bounded_mean,
    holm,
    paired_difference,
    two_way_difference,
    two_way_mean,
)


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ([0.0] * 10, 0, 0.3085),  # Clopper and Pearson's exact intervals
        ([1.0] * 10, 0.6915, 1),
        ([0.0], 0, 0.975),
        ([1.0], 0.025, 1),
        ([0.0] * 7 + [1.0] * 3, 0.0667, 0.6525),
        ([0.5] * 3, 0.1462, 0.8538),  # half of that of three successes, from both ends
    ],
)
def test_equals_the_exact_binomial_interval(values: list[float], low: float, high: float) -> None:
    found = bounded_mean(np.array(values))
    assert found.mean == pytest.approx(np.mean(values))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.012)


def test_no_difference_in_a_few_tasks_is_not_certain() -> None:
    same = np.array([1.0, 0.0, 1.0])
    gap = paired_difference(same, same)
    assert gap.mean == 0
    assert gap.low < -0.5 < 0.5 < gap.high
    many = paired_difference(np.tile(same, 200), np.tile(same, 200))
    assert -0.02 < many.low < 0 < many.high < 0.02


@pytest.mark.parametrize("rate", [0.02, 0.3, 0.5])
def test_covers_the_true_mean(rate: float, counts) -> None:  # type: ignore[no-untyped-def]
    dice = np.random.default_rng(5)
    rounds = counts(60, 1000)
    hits = 0
    for _ in range(rounds):
        found = bounded_mean(dice.beta(rate, 1 - rate, 40))
        hits += found.low <= rate <= found.high
    assert hits / rounds >= 0.9


def test_memory_is_flat_in_tasks() -> None:
    values = np.random.default_rng(0).random(5_000)
    tracemalloc.start()
    found = bounded_mean(values)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6
    assert found.high - found.low == pytest.approx(4 * values.std() / 5_000**0.5, rel=0.15)


def test_values_outside_the_range_are_refused() -> None:
    for bad in ([1.2], [-0.1], [np.nan], []):
        with pytest.raises(ValueError, match=r"outside|at least one"):
            bounded_mean(np.array(bad))
    with pytest.raises(ValueError, match="same tasks"):
        paired_difference(np.zeros(2), np.zeros(3))


def test_student() -> None:
    for freedom, quantile in [(1, 12.706), (4, 2.7764), (29, 2.0452), (1e6, 1.9623)]:
        assert _t_quantile(freedom) == pytest.approx(quantile, rel=1e-3)
        assert _t_tail(quantile, freedom) == pytest.approx(0.025, rel=1e-2)


def test_error_is_that_of_resampling_seeds_and_tasks() -> None:
    dice = np.random.default_rng(1)
    values = np.clip(dice.random((5, 1)) + 0.3 * dice.standard_normal((1, 40)), 0, 1)
    values = np.clip(values + 0.1 * dice.standard_normal((5, 40)), 0, 1)
    means = [
        values[np.ix_(dice.integers(0, 5, 5), dice.integers(0, 40, 40))].mean()
        for _ in range(4_000)
    ]
    error = sum(part for part, _ in _variances(values)) ** 0.5
    assert error / (5 / 4) ** 0.5 == pytest.approx(np.std(means), rel=0.05)


def test_seeds_widen_the_interval() -> None:
    seeds = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    found = two_way_mean(np.repeat(seeds[:, None], 300, axis=1))
    half = 2.776 * seeds.std(ddof=1) / 5**0.5
    assert found.mean == pytest.approx(0.5)
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half), abs=0.03)
    one = two_way_mean(np.random.default_rng(0).random((1, 300)))
    assert one.high - one.low < 0.1, "one seed: over tasks alone"


def test_all_failures_of_all_seeds_are_not_certain() -> None:
    found = two_way_mean(np.zeros((5, 20)))
    assert (found.mean, found.low) == (0, 0)
    assert 0.1 < found.high < 0.25
    assert two_way_mean(np.ones((3, 1))).low < 0.1


def test_missing_tasks_of_a_seed() -> None:
    values = np.array([[0.2, np.nan, 0.4], [0.6, 0.8, np.nan], [np.nan] * 3])
    found = two_way_mean(values)
    assert found.mean == pytest.approx(0.5)
    assert found == two_way_mean(values[:2])
    with pytest.raises(ValueError, match="at least one"):
        two_way_mean(np.full((2, 2), np.nan))


def test_p_value_agrees_with_the_interval() -> None:
    dice = np.random.default_rng(3)
    for shift in (0.0, 0.02, 0.05, 0.2):
        ours = np.clip(dice.random((5, 60)) * 0.5 + shift, 0, 1)
        found = two_way_difference(ours, dice.random((5, 60)) * 0.5)
        if found.interval.low > 0:
            assert found.p_value < 0.05
        if found.p_value > 0.1:
            assert found.interval.low < 0 < found.interval.high
    assert two_way_difference(ours, ours).p_value == 1
    assert two_way_difference(np.ones((5, 60)), np.zeros((5, 60))).p_value < 1e-3
    assert two_way_difference(np.ones((1, 1)), np.zeros((1, 1))).p_value > 0.9


@pytest.mark.parametrize(
    ("of_seeds", "of_tasks", "of_cells"),
    [(0.1, 0.0, 0.05), (0.05, 0.2, 0.1), (0.02, 0.3, 0.1), (0.1, 0.0, 0.001)],
)
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_few_seeds_are_covered_whatever_varies(
    seeds: int, of_seeds: float, of_tasks: float, of_cells: float, counts: Any
) -> None:
    dice = np.random.default_rng([seeds, int(1000 * of_cells)])
    rounds, missed = counts(150, 2000), 0
    for _ in range(rounds):
        gaps = of_seeds * dice.standard_normal((seeds, 1))
        gaps = gaps + of_tasks * dice.standard_normal((1, 280))
        gaps = np.clip(gaps + of_cells * dice.standard_normal((seeds, 280)), -1, 1)
        missed += abs(gaps.mean()) > _half_width(_variances(gaps), 0.05)
    assert missed / rounds <= 0.05 + 3.5 * (0.05 * 0.95 / rounds) ** 0.5


@pytest.mark.parametrize("seeds", [1, 2, 5])
@pytest.mark.parametrize("rare", [0.0, 0.005, 0.02])
def test_what_no_task_showed_is_not_ruled_out_by_the_p_value(seeds: int, rare: float) -> None:
    """A loss of all of 1 in 100 tasks is missed by 280 tasks once in 17 draws."""
    theirs = np.full((seeds, 280), 0.9)
    ours = theirs + 0.001 * np.random.default_rng(1).standard_normal((seeds, 280))
    ours[:, : int(280 * rare)] = 0.0
    found = two_way_difference(ours, theirs, margin=0.01)
    assert (found.interval.low > -0.01) == (found.p_value < 0.05)
    assert found.p_value > 0.05
    assert two_way_difference(ours, theirs, margin=0.2).p_value < 0.01


def test_holm_is_stricter_than_each_alone_and_stops_at_the_first_failure() -> None:
    assert holm({"a": 0.011, "b": 0.012, "c": 0.2, "d": 0.04}) == {
        "a": True, "b": True, "c": False, "d": False,
    }  # fmt: skip
    assert holm({"a": 0.02, "b": 0.02, "c": 0.02}) == dict.fromkeys("abc", False)
    assert holm({}) == {}


def outcome(used: list[float], solved_at: list[float], broken: list[bool]) -> MethodOutcome:
    return MethodOutcome(
        solved_at={unit: np.array(solved_at) for unit in UNIT_KEYS.values()},
        used={unit: np.array(used) for unit in UNIT_KEYS.values()},
        ledger=Spend(),
        token_sources=["test"],
        broken=np.array(broken),
    )


@pytest.mark.parametrize("failures", [1, 2])
def test_failed_tasks_do_not_zero_the_level(failures: int) -> None:
    inf = np.inf
    rest = [False] * 2
    bench = Bench(100)
    bench.outcomes["is"] = outcome(
        [0.0] * failures + [700, 900], [inf] * failures + [inf, 300], [True] * failures + rest
    )
    bench.outcomes["tree"] = outcome(
        [800.0] * (failures + 2), [250.0] * (failures + 2), [False] * (failures + 2)
    )
    assert bench.level("tokens_total") == 700
    assert bench.outcomes["is"].failed == failures
    assert bench.outcomes["is"].solved("tokens_total", 700).tolist() == [0] * failures + [0, 1]


def test_no_task_could_be_explored() -> None:
    bench = Bench(100)
    bench.outcomes["is"] = outcome([0, 0], [np.inf, np.inf], [True, True])
    assert bench.level("tokens_uncached") == 0
