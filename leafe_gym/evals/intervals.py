"""Intervals over tasks: tasks are resampled, samples of a task are not."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

Z95 = 1.959963984540054
RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """For JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def wilson(successes: int, count: int) -> Interval:
    """A fraction with Wilson's score interval; valid near 0 and 1, unlike the normal approximation.

    Example:
        >>> print(wilson(8, 10))
        0.800 [0.490, 0.943]

    Raises:
        ValueError: if `count` is not positive.
    """
    if count < 1:
        raise ValueError("an interval needs at least one task")
    mean, z2 = successes / count, Z95**2
    centre = (mean + z2 / (2 * count)) / (1 + z2 / count)
    half = Z95 * math.sqrt(mean * (1 - mean) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return Interval(mean, max(0.0, min(mean, centre - half)), min(1.0, max(mean, centre + half)))


def paired_difference(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> Interval:
    """Mean of ours - theirs with a percentile bootstrap over tasks.

    Args:
        ours: one value per task, shape [tasks].
        theirs: the same tasks in the same order, shape [tasks].

    Raises:
        ValueError: if the shapes differ or there are no tasks.
    """
    if ours.shape != theirs.shape or ours.ndim != 1 or not ours.size:
        raise ValueError(f"need the same tasks on both sides, got {ours.shape}, {theirs.shape}")
    gaps = ours - theirs
    rng = np.random.default_rng(0)  # fixed: the same data give the same interval
    picks = rng.integers(0, gaps.size, size=(RESAMPLES, gaps.size))
    low, high = np.quantile(gaps[picks].mean(axis=1), [0.025, 0.975])
    return Interval(float(gaps.mean()), float(low), float(high))


def verdict(difference: Interval) -> str:
    """The verdict on a paired difference: "more", "fewer" or "undecided"."""
    if difference.low > 0:
        return "more"
    return "fewer" if difference.high < 0 else "undecided"


def bootstrap_mean(values: NDArray[np.float64]) -> Interval:
    """A mean with a percentile bootstrap over tasks.

    Args:
        values: one value per task, shape [tasks].

    Raises:
        ValueError: if there are no tasks.
    """
    return paired_difference(values, np.zeros_like(values))
