"""Pictures of the study; each has its points as JSON beside it. They need the extra `plot`."""

from __future__ import annotations

from pathlib import Path

from leafe_gym.evals.intervals import Interval
from leafe_gym.evals.plot_style import (
    Points,
    band,
    frame,
    legend_below,
    new_figure,
    plain_points,
    rollouts_axis,
    save,
)
from leafe_gym.evals.reproduce.protocol import KS
from leafe_gym.evals.study.methods import TITLES
from leafe_gym.types import Json

DRAWN = ("base", "rft", "grpo", "reh", "leafe_paper", "leafe", "leafe_kl")
"""Arms in the pictures."""
ENDS = {"pass1": "Pass@1", "pass128": "Pass@128"}


def draw_ledger(ledger: Json, path: Path) -> None:
    """Pass@k of some arms on one kind of base.

    Raises:
        MissingExtra: without matplotlib.
    """
    figure = new_figure(6.4, 6.2)
    axes = figure.subplots()
    curves = {}
    for number, arm in enumerate(one for one in DRAWN if one in ledger):
        points = [(float(k), Interval(**ledger[arm][f"pass{k}"])) for k in KS]
        band(axes, points, TITLES[arm], number)
        curves[TITLES[arm]] = plain_points(points)
    rollouts_axis(axes, KS)
    axes.set_ylabel("Pass@k on test layouts")
    legend_below(axes)
    save(figure, path, curves)


def draw_curve(curve: Json, path: Path) -> None:
    """Pass@1 above and Pass@128 below, of each arm against the weight of the blind pushes.

    Raises:
        MissingExtra: without matplotlib.
    """
    figure = new_figure(6.4, 8.4)
    both = figure.subplots(2, sharex=True)
    curves: Json = {}
    for axes, (end, title) in zip(both, ENDS.items(), strict=True):
        for number, arm in enumerate(DRAWN):
            points = _against_weight(curve, arm, end)
            if points:
                band(axes, points, TITLES[arm], number, marker=".")
                curves.setdefault(TITLES[arm], {})[title] = plain_points(points)
        axes.set(xscale="log", ylabel=f"{title} on test layouts", ylim=(0, 1.02))
        frame(axes)
    both[-1].set_xlabel("weight of the blind pushes (smaller: a weaker base)")
    legend_below(both[-1])
    save(figure, path, curves)


def _against_weight(curve: Json, arm: str, end: str) -> Points:
    return [
        (float(weight), Interval(**one["arms"][arm][end]))
        for weight, one in curve.items()
        if arm in one["arms"]
    ]
