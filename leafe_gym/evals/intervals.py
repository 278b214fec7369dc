"""95 % intervals of means over tasks, and over seeds and tasks together.

Means over tasks of one model use Gaffke's bound, which resamples the weights of the tasks and adds
one task at the end of the range. It does not collapse where all tasks agree: ten failures in ten
tasks are consistent with a success rate above 0. For 0/1 values it equals the exact binomial
interval of Clopper and Pearson.

Means over several seeds use the two-way bootstrap of Owen (2007, "The pigeonhole bootstrap"): seeds
and tasks are resampled together. Its variance is known in closed form, so nothing is drawn. The
parts of seeds and tasks have Student's quantile of their own number, and the squares of their
half-widths are added: one quantile for both (Satterthwaite's) covers 90 % where two or three seeds
happen to agree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Z95 = 1.959963984540054
RESAMPLES = 4_000
LEVEL = 0.05
MOST_ERRORS = 2.0**30
"""Largest quantile, in standard errors."""
BLOCK = 1 << 18
"""Random weights drawn at once; memory does not grow with the number of tasks."""
Values = NDArray[np.float64]
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(100)


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


def bounded_mean(values: Values, least: float = 0.0, most: float = 1.0) -> Interval:
    """A mean over tasks with Gaffke's bound.

    Args:
        values: one value per task, each `least` to `most`, shape [tasks].
        least: the lowest value that is possible.
        most: the highest value that is possible.

    Raises:
        ValueError: if there are no tasks, or a value lies outside the range.

    Example:
        >>> print(bounded_mean(np.zeros(10)))
        0.000 [0.000, 0.308]
    """
    _check(values, 1, least, most)
    mean = float(values.mean())
    if least == most:
        return Interval(mean, mean, mean)
    sums = _resampled(values, least, most)
    low, high = np.quantile(sums[0], LEVEL / 2), np.quantile(sums[1], 1 - LEVEL / 2)
    return Interval(
        mean,
        mean if mean <= least else min(mean, float(low)),
        mean if mean >= most else max(mean, float(high)),
    )


def _resampled(values: Values, least: float, most: float) -> Values:
    """Gaffke's resampled means, with one more task at the lowest and at the highest value.

    Args:
        values: one value per task, shape [tasks].
        least: the lowest value that is possible.
        most: the highest value that is possible.

    Returns:
        Shape [2, RESAMPLES].
    """
    points, counts = np.unique(values, return_counts=True)
    rng = np.random.default_rng(0)  # fixed: the same data give the same interval
    sums = np.empty((2, RESAMPLES))
    block = max(1, BLOCK // (len(points) + 1))
    for at in range(0, RESAMPLES, block):
        part = slice(at, min(at + block, RESAMPLES))
        # Dirichlet weights as gamma variables; equal values share one.
        size = part.stop - at, len(points)
        single = len(points) == len(values)
        weights = rng.standard_exponential(size) if single else rng.standard_gamma(counts, size)
        extra = rng.standard_exponential(part.stop - at)
        whole, weighted = weights.sum(1) + extra, weights @ points
        sums[0, part] = (weighted + extra * least) / whole
        sums[1, part] = (weighted + extra * most) / whole
    return sums


def paired_difference(ours: Values, theirs: Values) -> Interval:
    """Mean of ours - theirs over the same tasks, with Gaffke's bound.

    Args:
        ours: one value per task, each 0 to 1, shape [tasks].
        theirs: the same tasks in the same order, shape [tasks].

    Raises:
        ValueError: if the shapes differ, there are no tasks, or a value is outside 0 to 1.
    """
    if ours.shape != theirs.shape:
        raise ValueError(f"need the same tasks on both sides, got {ours.shape}, {theirs.shape}")
    for values in (ours, theirs):
        _check(values, 1, 0.0, 1.0)
    return bounded_mean(ours - theirs, -1.0, 1.0)


def verdict(difference: Interval) -> str:
    """The verdict on a paired difference: "more", "fewer" or "undecided"."""
    if difference.low > 0:
        return "more"
    return "fewer" if difference.high < 0 else "undecided"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A difference over seeds and tasks.

    Attributes:
        interval: of the mean difference.
        p_value: two-sided, of the hypothesis that there is none; 1.0 where nothing can be said. It
            is below .05 where the interval leaves that hypothesis out, and not elsewhere; the
            smallest is 2 / (RESAMPLES + 1).
    """

    interval: Interval
    p_value: float


def two_way_mean(values: Values, least: float = 0.0, most: float = 1.0) -> Interval:
    """A mean over seeds and tasks, with an interval that covers both.

    The standard error is that of the two-way bootstrap, multiplied for the small number of seeds;
    the quantiles are Student's, of seeds and tasks each. The interval is at least as wide as that
    over tasks alone. With one seed it is that over tasks alone, and the spread over seeds is
    unknown.

    Args:
        values: one value per seed and task, each `least` to `most`, nan where a seed has no such
            task; runs of one seed are averaged before. Shape [seeds, tasks].
        least: the lowest value that is possible.
        most: the highest value that is possible.

    Raises:
        ValueError: if there are no values, or a value lies outside the range.
    """
    _check(values, 2, least, most)
    kept = values[:, ~np.isnan(values).all(axis=0)]
    kept = kept[~np.isnan(kept).all(axis=1)]
    if not kept.size:
        raise ValueError("an interval needs at least one task")
    mean = float(np.nanmean(kept))
    tasks = bounded_mean(np.clip(np.nanmean(kept, axis=0), least, most), least, most)
    low, high = min(tasks.low, mean), max(tasks.high, mean)
    if len(kept) > 1:
        half = _half_width(_variances(kept), LEVEL)
        low, high = min(low, mean - half), max(high, mean + half)
    return Interval(mean, max(least, low), min(most, high))


def two_way_difference(ours: Values, theirs: Values, margin: float = 0.0) -> Comparison:
    """Mean of ours - theirs over the same seeds and tasks; see `two_way_mean`.

    Args:
        ours: shares, 0 to 1; shape [seeds, tasks].
        theirs: the same seeds and tasks in the same order, shape [seeds, tasks].
        margin: the p-value is of the hypothesis that the difference is `-margin`.

    Raises:
        ValueError: if the shapes differ, there are no values, or a value is outside 0 to 1.
    """
    if ours.shape != theirs.shape:
        raise ValueError(f"need the same on both sides, got {ours.shape}, {theirs.shape}")
    for values in (ours, theirs):
        _check(values, 2, 0.0, 1.0)
    gaps = ours - theirs
    return Comparison(two_way_mean(gaps, -1.0, 1.0), _p_value(gaps, margin))


def holm(p_values: Mapping[str, float], level: float = LEVEL) -> dict[str, bool]:
    """Which hypotheses are rejected when all are tested together (Holm 1979).

    Args:
        p_values: of each hypothesis.
        level: chance of one wrong rejection or more.

    Example:
        >>> holm({"a": 0.01, "b": 0.04, "c": 0.02})
        {'a': True, 'b': True, 'c': True}
        >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
        {'a': True, 'b': False, 'c': False}
    """
    rejected = dict.fromkeys(p_values, False)
    for rank, name in enumerate(sorted(p_values, key=lambda one: p_values[one])):
        if not p_values[name] <= level / (len(p_values) - rank):
            break
        rejected[name] = True
    return rejected


def _check(values: Values, dimensions: int, least: float, most: float) -> None:
    if values.ndim != dimensions or not values.size:
        raise ValueError(f"an interval needs at least one task, got the shape {values.shape}")
    known = values if dimensions == 1 else values[~np.isnan(values)]
    if not ((known >= least) & (known <= most)).all():
        raise ValueError(f"values are outside {least} to {most}")


_Parts = tuple[tuple[float, float], ...]
"""Parts of the variance of a mean, each with its degrees of freedom."""


def _variances(values: Values) -> _Parts:
    """Of the mean under the two-way bootstrap: the part of seeds, and that of tasks and cells."""
    known = ~np.isnan(values)
    residual = np.where(known, values - np.nanmean(values), 0.0) / known.mean()
    seeds, tasks = residual.shape
    rows, columns = residual.mean(1), residual.mean(0)
    of_seeds = float((rows**2).sum()) / seeds**2
    of_tasks = float((columns**2).sum()) / tasks**2
    of_cells = float((residual**2).sum()) / (seeds * tasks) ** 2
    # The variance of the mean when seeds and tasks are drawn with replacement, independently.
    few = seeds / (seeds - 1)
    return (
        (few * (1 - 1 / tasks) * of_seeds, seeds - 1.0),
        (few * (of_cells + (1 - 1 / seeds) * of_tasks), max(1.0, tasks - 1.0)),
    )


def _half_width(parts: _Parts, level: float) -> float:
    """Of the interval that leaves out `level`."""
    return math.sqrt(sum(_t_quantile(freedom, level) ** 2 * part for part, freedom in parts))


def _p_value(gaps: Values, margin: float) -> float:
    """Two-sided; the larger one of both ways in which the interval is made."""
    kept = gaps[~np.isnan(gaps).all(axis=1)]
    tasks = np.nanmean(kept[:, ~np.isnan(kept).all(axis=0)], axis=0)
    distance = float(np.nanmean(kept)) + margin
    lows, highs = _resampled(np.clip(tasks, -1.0, 1.0), -1.0, 1.0)
    beyond = lows <= -margin if distance > 0 else highs >= -margin
    found = 2 * (float(beyond.sum()) + 1) / (RESAMPLES + 1)
    if len(kept) > 1:
        found = max(found, _level_at(_variances(kept), abs(distance)))
    return min(1.0, found)


def _level_at(parts: _Parts, distance: float) -> float:
    """The level whose interval reaches as far as `distance`."""
    if not distance:
        return 1.0
    low, high = -40.0, 0.0  # logarithms
    for _ in range(22):
        middle = (low + high) / 2
        wide = _half_width(parts, math.exp(middle)) > distance
        low, high = (middle, high) if wide else (low, middle)
    return math.exp(high)


def _t_tail(t: float, freedom: float) -> float:
    """P(T > t) of Student's distribution, t >= 0."""
    freedom = min(freedom, 1000.0)  # the normal distribution, to four digits
    start = math.atan(t / math.sqrt(freedom))
    angle = start + (math.pi / 2 - start) * (_NODES + 1) / 2
    area = float(_WEIGHTS @ np.cos(angle) ** (freedom - 1)) * (math.pi / 2 - start) / 2
    scale = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - math.log(math.pi) / 2
    return min(0.5, area * math.exp(scale))


@lru_cache(maxsize=256)
def _t_quantile(freedom: float, level: float = LEVEL) -> float:
    """The quantile of Student's distribution that leaves out `level` on both sides together."""
    low, high = 0.0, 1.0
    while _t_tail(high, freedom) > level / 2 and high < MOST_ERRORS:
        low, high = high, 2 * high
    for _ in range(34):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_tail(middle, freedom) > level / 2 else (low, middle)
    return high
