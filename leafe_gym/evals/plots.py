"""Curves as PNG. Needs the extra `plot`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from leafe_gym.errors import MissingExtra, StoreError
from leafe_gym.evals.bench import TITLES, Bench
from leafe_gym.evals.intervals import Interval

AXES = {
    "calls": "budget: environment steps + model calls",
    "tokens_uncached": "budget: uncached tokens",
}


def plot_bench(bench: Bench, path: Path, title: str) -> None:
    """Solved fraction over the budget, one line a method, its 95 % interval shaded.

    Args:
        bench: what to draw.
        path: PNG file to write.
        title: heading; say what the tasks are.

    Raises:
        MissingExtra: if matplotlib is not installed.
        StoreError: if the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("drawing curves", "plot") from error
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    figure.suptitle(title)
    for axes, (unit, label) in zip(figure.subplots(1, 2, sharey=True), AXES.items(), strict=True):
        for name in bench.outcomes:
            points = bench.curve(name, unit)
            spent = [at for at, _ in points]
            final = points[-1][1]
            (line,) = axes.plot(
                spent, [i.mean for _, i in points], label=f"{TITLES[name]}: {final.mean:.2f}"
            )
            axes.fill_between(
                spent,
                [i.low for _, i in points],
                [i.high for _, i in points],
                color=line.get_color(),
                alpha=0.15,
                linewidth=0,
            )
        axes.set(xlabel=label, xlim=(0, None), ylim=(0, 1))
        axes.grid(alpha=0.3)
        axes.legend(loc="upper left", fontsize=9)
    figure.axes[0].set_ylabel("fraction of tasks solved (95 % interval)")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise StoreError(f"{path}: cannot write the picture: {error}") from error


def plot_pass(curves: Mapping[str, Mapping[int, Interval]], path: Path, title: str) -> None:
    """Success against the number of rollouts, one line a policy (paper: Fig. 3).

    Args:
        curves: name -> k -> interval.
        path: PNG file to write.
        title: heading; say what the tasks are.

    Raises:
        MissingExtra: if matplotlib is not installed.
        StoreError: if the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("drawing curves", "plot") from error
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    for name, curve in curves.items():
        ks = list(curve)
        (line,) = axes.plot(ks, [i.mean for i in curve.values()], marker="o", label=name)
        axes.fill_between(
            ks,
            [i.low for i in curve.values()],
            [i.high for i in curve.values()],
            color=line.get_color(),
            alpha=0.15,
            linewidth=0,
        )
    axes.set(xscale="log", xlabel="rollouts (k)", ylabel="Pass@k (95 % interval)", title=title)
    axes.set(ylim=(0, 1))
    axes.set_xticks(sorted({k for curve in curves.values() for k in curve}))
    axes.set_xticklabels([str(k) for k in sorted({k for curve in curves.values() for k in curve})])
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise StoreError(f"{path}: cannot write the picture: {error}") from error
