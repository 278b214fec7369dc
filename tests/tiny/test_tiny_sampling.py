"""Sampling by the inverse cumulative distribution."""

from __future__ import annotations

import numpy as np
import pytest

from leafe_gym.tiny.sampling import inverse_cdf


@pytest.mark.parametrize(
    "weights", [[0.1, 0.2, 0.3, 0.4], [0.0, 0.5, 0.0, 0.5], [0.25, 0.25, 0.0, 0.1], [0, 0, 0, 0]]
)
def test_categories_have_their_weights_and_the_rest_is_none(weights: list[float]) -> None:
    count = 40_000
    edges = np.tile(np.cumsum(weights), (count, 1))
    drawn = inverse_cdf(edges, np.random.default_rng(0).random(count))
    wanted = np.array([*weights, 1 - sum(weights)])
    found = np.bincount(drawn, minlength=5) / count
    assert found == pytest.approx(wanted, abs=5 * 0.5 / count**0.5)
    assert (found[wanted == 0] == 0).all()


def test_edges_belong_to_the_next_category() -> None:
    edges = np.tile([0.25, 0.5, 1.0], (4, 1))
    assert inverse_cdf(edges, np.array([0.0, 0.25, 0.5, 1.0])).tolist() == [0, 1, 2, 3]
