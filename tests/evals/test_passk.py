"""Pass@k against brute force."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leafe_gym.errors import UsageError
from leafe_gym.evals.passk import pass_at_k, pass_curve, pass_from_chance


@given(st.integers(1, 9), st.data())
def test_equals_brute_force(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    rollouts = [True] * c + [False] * (n - c)
    picks = list(combinations(rollouts, k))
    brute = sum(any(pick) for pick in picks) / len(picks)
    assert pass_at_k([c], n, k)[0] == pytest.approx(brute, abs=1e-12)


def test_unbiased_and_large() -> None:
    rng = np.random.default_rng(0)
    wins = rng.binomial(20, 0.1, size=200_000)
    assert pass_at_k(wins, 20, 5).mean() == pytest.approx(1 - 0.9**5, abs=2e-3)
    assert pass_at_k([1], 100_000, 128)[0] == pytest.approx(128 / 100_000, abs=1e-12)


@given(st.floats(0, 1), st.integers(1, 2000))
def test_from_chance(p: float, k: int) -> None:
    assert pass_from_chance([p], k)[0] == pytest.approx(1 - (1 - p) ** k, abs=1e-12)


def test_tiny_chances_are_kept() -> None:
    assert pass_from_chance([1e-15], 100)[0] == pytest.approx(1e-13)


def test_curve_rises() -> None:
    curve = pass_curve([0, 1, 5, 8], 8, [1, 2, 8])
    assert curve[1].mean == pytest.approx(14 / 32)
    assert curve[1].mean < curve[2].mean < curve[8].mean == 0.75
    assert all(one.low <= one.mean <= one.high for one in curve.values())


@pytest.mark.parametrize(
    ("wins", "samples", "k"), [([1], 4, 5), ([5], 4, 1), ([1], 4, 0), ([-1], 4, 1)]
)
def test_what_cannot_be(wins: list[int], samples: int, k: int) -> None:
    with pytest.raises(UsageError):
        pass_at_k(wins, samples, k)
