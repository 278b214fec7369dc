"""The report of a reproduction: one Markdown page and its pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from leafe_gym._files import write_text
from leafe_gym.evals.intervals import Interval
from leafe_gym.evals.plot_style import (
    COLOURS,
    band,
    frame,
    legend_below,
    new_figure,
    rollouts_axis,
    save,
)
from leafe_gym.evals.reproduce import published
from leafe_gym.evals.reproduce.limits import LATE_TAU, LIMITS, LIMITS_OPENING
from leafe_gym.evals.reproduce.merge import DECIDED
from leafe_gym.evals.reproduce.protocol import CROSS_CHECK, KS
from leafe_gym.types import Json

MODELS = {
    "base": "base",
    "rft": "rejection-sampling SFT",
    "rft_3x": "the same, three times the interactions",
    "early": "Early Experience",
    "grpo": "GRPO",
    "grpo_3x": "GRPO, three times the interactions",
    "reh_random": "rehearsal, tree of random experiences",
    "reh": "rehearsal (L_reh)",
    "leafe": "LEAFE (L_cf + L_reh)",
    "leafe_early": "LEAFE from Early Experience",
    "leafe_grpo": "LEAFE from GRPO",
    "reh_late": "rehearsal, late tau by the solver",
    "leafe_late": "LEAFE, late tau by the solver",
}
SAMPLERS = {
    "is": "independent sampling",
    "ir": "iterative refinement",
    "ir_all": "refinement, all experiences so far",
    "tree": "rollback tree (tau, e)",
    "tree_no_experience": "tau without e",
    "tree_random_tau": "random tau with e",
    "tree_random_tau_no_experience": "random tau without e",
    "tree_other_experience": "tau with another task's e",
    "oracle_tau": "oracle: the solver's tau, no e",
    "tree_until_end": "rollback tree, e kept to the end",
}


BUDGETS = (
    "Each method has the same budget of interactions on the same training levels. LEAFE from Early "
    "Experience and from GRPO spend the budget of that method besides their own."
)


def write_report(merged: Mapping[str, Json], folder: Path, multiturn: Json = None) -> Path:
    """The page and its pictures.

    Args:
        merged: figures and orderings of each kind of base; the first is the one decided on.
        folder: where to.
        multiturn: figures of the model with a history, where it was run.

    Raises:
        MissingExtra: without matplotlib.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    for number, (kind, data) in enumerate(merged.items()):
        draw(data, folder / f"{kind}.png", kind)
        if not number:
            lines += _opening(data)
        lines += [f"## The {kind} base", "", _ties(data), "", f"![curves]({kind}.png)", ""]
        lines += _samplers(data) + _models(data) + _ablations(data) + _elsewhere(data)
        lines += _reflector(data) + _orderings(data)
    if multiturn is not None:
        lines += _multiturn(multiturn)
    page = folder / "report.md"
    write_text(page, "\n".join(lines) + "\n")
    return page


def _ties(data: Json) -> str:
    tied = [
        SAMPLERS[key]
        for key in SAMPLERS
        if data["differences"].get(f"tree_gt_{key}_interactions", {}).get("verdict")
        not in (None, "reproduced")
    ]
    if not tied:
        return "The rollback tree solves more than every control at equal interactions."
    return f"Undecided against the rollback tree at equal interactions: {', '.join(tied)}."


_LEVELS = "All levels are generated Sokoban rooms, not the paper's data."


def _opening(data: Json) -> list[str]:
    rows = [
        [name, _signed(data["differences"][name]), data["differences"][name]["verdict"]]
        for name in DECIDED
    ]
    return [
        "# The paper's comparisons with a model of 0.2 M parameters",
        "",
        _ties(data),
        "",
        _LEVELS,
        "",
        *_table(["ordering of samplers", "difference [95 %]", ""], rows),
        "",
        "## Limits of these figures",
        "",
        LIMITS_OPENING,
        "",
        *(f"* {limit}" for limit in LIMITS),
        "",
    ]


def _samplers(data: Json) -> list[str]:
    rows = []
    for key, title in SAMPLERS.items():
        figures = data["stage1"].get(key)
        if figures is not None:
            units = ("interactions", "tokens_total", "tokens_uncached")
            paper = f"{published.TABLE_3[key]:.1f}" if key in published.TABLE_3 else ""
            rows.append([title, *(_percent(figures[unit]) for unit in units), paper])
    head = [
        "Stage 1",
        "equal interactions",
        "equal tokens",
        "equal uncached tokens",
        "paper, Table 3",
    ]
    return [
        "### Samplers at an equal budget (Table 3), % of levels solved",
        "",
        *_table(head, rows),
        "",
    ]


def _models(data: Json) -> list[str]:
    rows = []
    for key, title in MODELS.items():
        if key in data["passk"]:
            paper = published.TABLE_1_SOKOBAN.get(key)
            rows.append(
                [
                    title,
                    _percent(data["passk"][key]["1"]),
                    _percent(data["passk"][key]["128"]),
                    _percent(data["recovery"][key]["1"]),
                    _percent(data["recovery"][key]["16"]),
                    f"{paper[0]:.1f} / {paper[1]:.1f}" if paper else "",
                ]
            )
    head = ["", "Pass@1", "Pass@128", "recovery@1", "recovery@16", "paper, Sokoban, Table 1"]
    blind = data["by_blind_pushes"]
    split = [
        [MODELS[key], *(f"{100 * part['128']:.1f}" for part in blind[key].values())]
        for key in MODELS
        if key in blind
    ]
    counts = [f"{count} blind" for count in blind["base"]]
    spread = ", ".join(f"{100 * value:.1f}" for value in data["grpo_spread"]["128"])
    return [
        "### Trained models (Tables 1 and 2), exploratory, %",
        "",
        *_table(head, rows),
        "",
        f"{BUDGETS} Calls spent on the first base: {_calls(data['methods'][0])}.",
        "",
        f"Pass@128 of every GRPO run: {spread}.",
        "",
        "Pass@128 by the blind pushes that a level needs:",
        "",
        *_table(["", *counts], split),
        "",
    ]


def _calls(notes: Json) -> str:
    names = ("is", "is-3x", "tree", "random-experience", "grpo_0", "grpo_3x")
    return ", ".join(f"{name} {notes[name]['interactions']:,}" for name in names)


def _ablations(data: Json) -> list[str]:
    rows = []
    for key in ("reh", "leafe"):
        first, last = published.TABLE_4[key]
        figures = data["passk"][key]
        rows.append(
            [MODELS[key], _percent(figures["1"]), _percent(figures["128"]), f"{first} / {last}"]
        )
    for key in ("leafe", "leafe_early"):
        first, last = published.TABLE_6[key]
        figures = data["passk"][key]
        rows.append(
            [
                f"{MODELS[key]} (Table 6)",
                _percent(figures["1"]),
                _percent(figures["128"]),
                f"{first} / {last}",
            ]
        )
    head = ["at equal examples a step", "Pass@1", "Pass@128", "paper"]
    return [
        "### What the loss adds (Table 4), and an auxiliary objective (Table 6), exploratory, %",
        "",
        *_table(head, rows),
        "",
    ]


def _elsewhere(data: Json) -> list[str]:
    rows = [
        [title, *(f"{100 * figures[key]['128']:.1f}" for key in figures)]
        for title, figures in data["elsewhere"].items()
    ]
    names = [MODELS[key] for key in next(iter(data["elsewhere"].values()))]
    paper = ", ".join(f"{MODELS[key]} {value}" for key, value in published.TABLE_5.items())
    return [
        "### Out of distribution (Table 5), one GRPO run a base, exploratory, Pass@128, %",
        "",
        *_table(["levels", *names], rows),
        "",
        f"Paper (CodeContests to MBPP): {paper}.",
        "",
    ]


def _reflector(data: Json) -> list[str]:
    quality = data["reflector"]
    shown = ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in quality.items())
    checks = "; ".join(
        f"{MODELS[name]} {check['exact']['1']:.4f} and {check['sampled']['1']:.4f}, "
        f"{check['errors_apart']:.1f} standard errors apart"
        for name, check in data["cross_check"].items()
    )
    return [
        f"Reflections, judged by the solver: {shown}.",
        "",
        f"Pass@1 exactly and from {CROSS_CHECK} samples a level (first base): {checks}.",
        "",
    ]


def _orderings(data: Json) -> list[str]:
    rows = [[name, _signed(one), one["verdict"]] for name, one in data["differences"].items()]
    return ["### All differences", "", *_table(["", "difference [95 %]", ""], rows), ""]


def _multiturn(data: Json) -> list[str]:
    """The model with a history: tokens as a prefix cache counts them, and what L_cf adds."""
    models = [
        [
            title,
            *(_percent(data["passk"][key][k]) for k in ("1", "128")),
            *(_percent(data["recovery"][key][k]) for k in ("1", "16")),
        ]
        for key, title in MODELS.items()
        if key in data["passk"]
    ]
    after = data["after_a_mistake"]
    seeds = len(data["seeds"])
    return [
        "## Model with a history",
        "",
        "One append-only conversation: every board is a user turn, every action an answer. "
        f"{seeds} base{'s' if seeds > 1 else ''}; success from {data['samples']['success']} "
        f"episodes on each of {data['levels']} levels.",
        "",
        *_samplers(data),
        "### Trained models, exploratory, %",
        "",
        LATE_TAU,
        "",
        *_table(["", "Pass@1", "Pass@128", "recovery@1", "recovery@16"], models),
        "",
        "Of the revised actions that won, these follow a mistake in their history: "
        f"{100 * after['own']:.0f} % in the model's own trees, {100 * after['late']:.0f} % with "
        "the late tau.",
        "",
        *_orderings(data),
    ]


UNTUNED = "(baselines not tuned)"
"""Stands in a picture, which is shown without the page around it."""


def draw(data: Json, path: Path, kind: str) -> None:
    """Pass@k of the trained models, and recovery beside it.

    Raises:
        MissingExtra: without matplotlib.
    """
    figure = new_figure(14, 5.4)
    figure.suptitle(
        f"{kind} base: exact success, 95 % interval over seeds and tasks, equal interactions"
    )
    left, middle, right = figure.subplots(1, 3)
    _bars(
        left,
        data["stage1"],
        SAMPLERS,
        "interactions",
        "Stage 1, equal interactions",
    )
    for number, key in enumerate(("base", "rft", "early", "grpo", "reh", "leafe")):
        points = [(k, Interval(**data["passk"][key][str(k)])) for k in KS]
        band(middle, points, MODELS[key], number, marker="o")
    rollouts_axis(middle, KS)
    middle.set(title=f"Pass@k {UNTUNED}")
    legend_below(middle)
    _bars(right, data["recovery"], MODELS, "1", f"recovery@1 {UNTUNED}")
    save(figure, path, {key: data[key] for key in ("stage1", "passk", "recovery")})


def _bars(axes: Any, figures: Json, titles: Mapping[str, str], key: str, title: str) -> None:
    names = [name for name in titles if name in figures][::-1]
    means = [figures[name][key]["mean"] for name in names]
    low = [mean - figures[name][key]["low"] for name, mean in zip(names, means, strict=True)]
    high = [figures[name][key]["high"] - mean for name, mean in zip(names, means, strict=True)]
    colours = [COLOURS[name in ("tree", "leafe")] for name in names]
    axes.barh([titles[name] for name in names], means, xerr=[low, high], color=colours)
    axes.set(title=title, xlim=(0, 1))
    axes.tick_params(labelsize=9)
    frame(axes)


def _percent(interval: Json) -> str:
    return (
        f"{100 * interval['mean']:.1f} [{100 * interval['low']:.1f}, {100 * interval['high']:.1f}]"
    )


def _signed(interval: Json) -> str:
    return f"{interval['mean']:+.3f} [{interval['low']:+.3f}, {interval['high']:+.3f}]"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]
