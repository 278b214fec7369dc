"""The report of the study: one Markdown page and its pictures."""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path

from leafe_gym._files import write_text
from leafe_gym.evals.reproduce.report import SAMPLERS
from leafe_gym.evals.study.bases import SEEDS
from leafe_gym.evals.study.methods import TITLES
from leafe_gym.evals.study.pictures import ENDS, draw_curve, draw_ledger
from leafe_gym.evals.study.settings import SPACES
from leafe_gym.types import Json

PROTOCOL = (
    "By the [protocol](protocol.md): splits by layout, every method tuned with the same number of "
    "trials on validation levels, equal interactions, intervals of 95 % over pretraining seeds and "
    "layouts together, declared orderings corrected by Holm's method. Everything that is not "
    "declared is exploratory."
)
WORDS = {"missing": "not run yet", "incomplete": "not decided: seeds are missing"}


def write_report(found: Json, folder: Path) -> Path:
    """The page `study.md` and its pictures.

    Args:
        found: what `conclude` returned.
        folder: where to.

    Raises:
        MissingExtra: without matplotlib.
    """
    lines = ["# Which objective raises Pass@1, and which Pass@128", "", PROTOCOL, ""]
    lines += _orderings(found["orderings"]) + _equal_settings(found["at_equal_settings"])
    lines += [
        "## Deviations from the protocol",
        "",
        *(f"* {one}" for one in found["deviations"]),
        "",
    ]
    seeds, unfinished = found["seeds"], found["unfinished"]
    if found["ledger"]:
        draw_ledger(found["ledger"], folder / "study-blind.png")
        lines += [f"## The blind base, pretraining seeds: {seeds['blind']} of {SEEDS}", ""]
        lines += ["![Pass@k of the arms on the blind base](study-blind.png)", ""]
        lines += _unfinished(unfinished["blind"])
        lines += _ledger(found["ledger"]) + _costs(found["ledger"]) + _stage1(found["stage1"])
    natural = found["natural"]
    if natural["ledger"]:
        draw_ledger(natural["ledger"], folder / "study-natural.png")
        lines += [f"## The natural base, pretraining seeds: {seeds['natural']} of {SEEDS}", ""]
        lines += ["![Pass@k of the arms on the natural base](study-natural.png)", ""]
        lines += _unfinished(unfinished["natural"])
        lines += _ledger(natural["ledger"]) + _stage1(natural["stage1"])
    lines += _rounds(found["rounds"], seeds["rounds"])
    if len(found["curve"]) > 1:
        draw_curve(found["curve"], folder / "study-curve.png")
        lines += _curve(found["curve"])
    lines += _tuning(found["tuning"])
    path = folder / "study.md"
    write_text(path, "\n".join(lines).rstrip() + "\n")
    return path


def _unfinished(arms: Sequence[str]) -> list[str]:
    if not arms:
        return []
    names = "; ".join(TITLES[arm] for arm in arms)
    return [f"Not finished on every seed, and so not in the tables: {names}.", ""]


def share(one: Json) -> str:
    """A share with its interval in per cent."""
    return f"{100 * one['mean']:.1f} [{100 * one['low']:.1f}, {100 * one['high']:.1f}]"


def _orderings(found: Json) -> list[str]:
    lines = ["## Declared orderings", "", "| ordering | difference [95 %] | p | verdict |"]
    lines.append("| --- | --- | --- | --- |")
    for name, one in found.items():
        known = "mean" in one
        gap = f"{one['mean']:+.3f} [{one['low']:+.3f}, {one['high']:+.3f}]" if known else ""
        p = f"{one['p_value']:.3g}" if known else ""
        lines.append(f"| {name} | {gap} | {p} | {WORDS.get(one['verdict'], one['verdict'])} |")
    return [*lines, ""]


def _equal_settings(found: Json) -> list[str]:
    if not found:
        return []
    lines = [
        "Each method was frozen at its own setting, and more optimizer steps raise Pass@1 and",
        "lower Pass@128. The same orderings at equal settings, on validation levels of one base,",
        "mean over the trials of the sweep (exploratory):",
        "",
        "| ordering | steps of the frozen settings | difference at equal settings | trials |",
        "| --- | --- | --- | --- |",
    ]
    for name, one in found.items():
        steps = " and ".join(map(str, one["steps"]))
        lines.append(f"| {name} | {steps} | {one['mean']:+.3f} | {one['trials']} |")
    return [*lines, ""]


def _ledger(ledger: Json) -> list[str]:
    columns = ("pass1", "pass128", "recovery1", "recovery16")
    lines = ["### Trained models, %", "", "| | Pass@1 | Pass@128 | recovery@1 | recovery@16 |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for arm, one in ledger.items():
        cells = [share(one[name]) if name in one else "" for name in columns]
        lines.append(f"| {TITLES[arm]} | {' | '.join(cells)} |")
    titles = list(next(iter(ledger.values()))["elsewhere"])
    lines += ["", "### Out of distribution, Pass@1 / Pass@128, %", ""]
    lines += [f"| | {' | '.join(titles)} |", "| --- |" + " --- |" * len(titles)]
    for arm, one in ledger.items():
        if one["elsewhere"]:
            cells = [_both(one["elsewhere"][t]) for t in titles]
            lines.append(f"| {TITLES[arm]} | {' | '.join(cells)} |")
    return [*lines, ""]


def _costs(ledger: Json) -> list[str]:
    names = {
        "interactions": "interactions",
        "tokens_sampled": "tokens sampled",
        "rehearsal": "rehearsal rows",
        "counterfactual": "counterfactual rows",
        "steps": "optimizer steps",
        "tokens_read": "tokens read in training",
        "cpu_seconds": "CPU s of training",
    }
    lines = ["### Costs, mean over seeds", ""]
    lines += ["Empty: none, or not counted. GRPO's CPU time includes its sampling.", ""]
    lines += [f"| | {' | '.join(names.values())} |", "| --- |" + " --- |" * len(names)]
    for arm, one in ledger.items():
        cells = [f"{one['costs'][n]:,.0f}" if n in one["costs"] else "" for n in names]
        lines.append(f"| {TITLES[arm]} | {' | '.join(cells)} |")
    return [*lines, ""]


def _stage1(stage1: Json) -> list[str]:
    if not stage1:
        return []
    units = ("interactions", "tokens_total", "tokens_uncached")
    lines = ["### Samplers at equal budgets, % of levels solved", ""]
    first = next(iter(stage1.values()))
    heads = [f"{first[unit]['budget']:,.0f} {unit.replace('_', ' ')}" for unit in units]
    lines.append(
        "The budget in tokens is the largest at which the results of all samplers are known:"
    )
    lines += ["what the one that uses the fewest spent in its interactions; mean over seeds.", ""]
    lines += [f"| | {' | '.join(heads)} |", "| --- | --- | --- | --- |"]
    for name, one in stage1.items():
        cells = [share(one[unit]) for unit in units]
        lines.append(f"| {SAMPLERS.get(name, name)} | {' | '.join(cells)} |")
    return [*lines, ""]


def _rounds(rounds: Json, seeds: int) -> list[str]:
    if not rounds:
        return []
    lines = [f"## Rounds that share the budget, pretraining seeds: {seeds} of {SEEDS}"]
    for end, title in ENDS.items():
        one = next(iter(rounds.values()))
        head = " | ".join(f"round {name}" if name.isdigit() else "one round" for name in one)
        lines += ["", f"### After each round, {title}, %", "", f"| | {head} |"]
        lines.append("| --- |" + " --- |" * len(one))
        lines += [
            f"| {TITLES[method]} | {' | '.join(share(at[end]) for at in after.values())} |"
            for method, after in rounds.items()
        ]
    return [*lines, ""]


def _curve(curve: Json) -> list[str]:
    arms = list(dict.fromkeys(arm for one in curve.values() for arm in one["arms"]))
    lines = ["## The weight of the blind pushes, Pass@1 / Pass@128, %", ""]
    lines += ["![Pass@1 and Pass@128 against the weight of the blind pushes](study-curve.png)", ""]
    lines += [f"| | {' | '.join(curve)} |", "| --- |" + " --- |" * len(curve)]
    seeds = [str(one["seeds"]) for one in curve.values()]
    lines.append(f"| pretraining seeds | {' | '.join(seeds)} |")
    for arm in arms:
        cells = [_both(one["arms"][arm]) if arm in one["arms"] else "" for one in curve.values()]
        lines.append(f"| {TITLES[arm]} | {' | '.join(cells)} |")
    return [*lines, ""]


def _tuning(tuning: Json) -> list[str]:
    if not tuning:
        return []
    lines = ["## Tuning on validation levels", ""]
    lines.append("The trial with the largest Pass@1 + Pass@128 is in bold; the first is the")
    lines += ["setting of the earlier published figures.", ""]
    for method, one in tuning.items():
        lines += [
            f"### {TITLES[method]}",
            "",
            *_trials(one["trials"], one["chosen"], SPACES[method]),
            "",
        ]
    return lines


def _trials(trials: Sequence[Json], chosen: int, varied: Container[str]) -> list[str]:
    names = [name for name in trials[0]["setting"] if name in varied]
    solved = [one.get("costs", {}).get("solved") for one in trials]
    heads = [*names, *["training levels solved, %"] * (None not in solved), "Pass@1", "Pass@128"]
    lines = [f"| {' | '.join(heads)} |", "| --- |" + " --- |" * (len(heads) - 1)]
    for number, one in enumerate(trials):
        cells = [_plain(one["setting"][name]) for name in names]
        cells += [f"{100 * solved[number]:.0f}"] if None not in solved else []
        cells += [f"{100 * one['pass1']:.1f}", f"{100 * one['pass128']:.1f}"]
        lines.append("| " + " | ".join(f"**{c}**" if number == chosen else c for c in cells) + " |")
    return lines


def _plain(value: Json) -> str:
    return f"{value:.3g}" if isinstance(value, float) else "none" if value is None else str(value)


def _both(one: Json) -> str:
    return f"{share(one['pass1'])} / {share(one['pass128'])}"
