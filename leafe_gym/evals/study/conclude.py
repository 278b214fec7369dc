"""The declared orderings of the study, and all figures that its finished cells give."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leafe_gym.evals.intervals import holm, two_way_difference
from leafe_gym.evals.reproduce.merge import MARGIN, Values
from leafe_gym.evals.study.base_figures import BaseFigures
from leafe_gym.evals.study.bases import CURVE, NAMED, NATURAL_NAME, SEEDS, blind_name
from leafe_gym.evals.study.deviations import deviations
from leafe_gym.evals.study.run import ARMS, ON_THE_CURVE
from leafe_gym.evals.study.scale import StudyScale
from leafe_gym.evals.study.settings import SPACES
from leafe_gym.evals.study.tuning import FROZEN, read_settings
from leafe_gym.types import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordering:
    """A declared ordering of two arms.

    Attributes:
        ours: the arm that is declared to be better.
        theirs: the other one.
        measure: "solved" of samplers, or "pass1" or "pass128" of trained models.
        margin: how much worse it may be and still count.
    """

    ours: str
    theirs: str
    measure: str
    margin: float = 0.0

    @property
    def name(self) -> str:
        """Such as "leafe_paper_gt_grpo_pass128"."""
        ours, theirs = self.ours.replace("-", "_"), self.theirs.replace("-", "_")
        return f"{ours}_{'ge' if self.margin else 'gt'}_{theirs}_{self.measure}"


ORDERINGS = (
    Ordering(ours="tree", theirs="is", measure="solved"),
    Ordering(ours="tree", theirs="ir-all", measure="solved"),
    Ordering(ours="tree", theirs="tree-random-tau", measure="solved"),
    Ordering(ours="leafe_paper", theirs="grpo", measure="pass128"),
    Ordering(ours="leafe_paper", theirs="rft", measure="pass128"),
    Ordering(ours="leafe_paper", theirs="reh", measure="pass128"),
    Ordering(ours="leafe_paper", theirs="reh", measure="pass1"),
    Ordering(ours="leafe_kl", theirs="leafe", measure="pass1"),
    Ordering(ours="leafe_kl", theirs="leafe", measure="pass128", margin=MARGIN),
    Ordering(ours="leafe_kl", theirs="kl_everywhere", measure="pass128"),
    Ordering(ours="leafe_kl", theirs="kl_unverified", measure="pass1"),
    Ordering(ours="reh", theirs="reh_random", measure="pass1"),
)
"""Those of docs/reproduction/protocol.md, section 4, in its order."""


def sides(figures: BaseFigures, ordering: Ordering) -> tuple[Values, Values] | None:
    """Both sides of an ordering; None where a cell is not finished."""
    pair = (ordering.ours, ordering.theirs)
    if ordering.measure == "solved":
        if not set(pair) <= set(figures.samplers()):
            return None
        return figures.solved(pair[0]), figures.solved(pair[1])
    if not all(figures.has(one) for one in pair):
        return None
    k = int(ordering.measure.removeprefix("pass"))
    return figures.passed(pair[0], k), figures.passed(pair[1], k)


def orderings(figures: BaseFigures, seeds: int = SEEDS) -> Json:
    """The declared orderings, corrected together.

    Args:
        figures: of the base that they are about.
        seeds: pretraining seeds that the protocol asks for; the verdict is "incomplete" before all
            of them have run.

    Returns:
        Difference, p-value and verdict of each: "reproduced", "reversed", "undecided",
        "incomplete" or, without any figures, "missing".
    """
    found: dict[str, Json] = {}
    for one in ORDERINGS:
        pair = sides(figures, one)
        if pair is None:
            continue
        gap = two_way_difference(*pair, one.margin)
        found[one.name] = gap.interval.as_dict() | {"p_value": gap.p_value, "margin": one.margin}
    # A missing ordering counts in the correction, as if nothing were known about it.
    missing = {one.name: 1.0 for one in ORDERINGS if one.name not in found}
    rejected = holm({name: one["p_value"] for name, one in found.items()} | missing)
    for name, one in found.items():
        sign = "reproduced" if one["mean"] > -one["margin"] else "reversed"
        one["verdict"] = sign if rejected[name] else "undecided"
        if figures.seeds < seeds:
            one["verdict"] = "incomplete"
    return found | {name: {"verdict": "missing"} for name in missing}


def at_equal_settings(tuning: Json) -> Json:
    """Both sides of the orderings at the same trials of the sweep, where their settings agree.

    Two methods may be frozen with other numbers of optimizer steps, which move Pass@1 and Pass@128
    against each other. The trials of methods that share a range are the same points, on validation
    levels of one base: exploratory.

    Args:
        tuning: of `read_settings`.

    Returns:
        For each ordering: the frozen steps of both, and the mean difference over the trials.
    """
    found: dict[str, Json] = {}
    for one in ORDERINGS:
        pair = [tuning.get(name) for name in (one.ours, one.theirs)]
        shared = [SPACES.get(name, {}).keys() for name in (one.ours, one.theirs)]
        if not all(pair) or not all({"temperature", "lr", "steps"} <= names for names in shared):
            continue
        trials = list(zip(*(side["trials"] for side in pair), strict=False))
        gaps = [ours[one.measure] - theirs[one.measure] for ours, theirs in trials]
        chosen = [side["trials"][side["chosen"]]["setting"].get("steps") for side in pair]
        found[one.name] = {"steps": chosen, "mean": float(np.mean(gaps)), "trials": len(gaps)}
    return found


def conclude(folder: Path, scale: StudyScale) -> Json:
    """All figures that the finished cells of a folder give, for JSON."""
    named, natural = (BaseFigures(folder, base, scale) for base in (NAMED, NATURAL_NAME))
    ordered, rounds = orderings(named), named.in_rounds()
    curve: Json = {}
    for weight in CURVE:
        base = BaseFigures(folder, blind_name(weight), scale)
        found = base.ends(ON_THE_CURVE, runs=1)
        if found:
            curve[f"{weight:.0e}"] = {
                "seeds": base.seeds, "grpo_runs": base.runs_of("grpo"), "arms": found,
            }  # fmt: skip
    settings = folder / FROZEN
    tuning = read_settings(settings) if settings.exists() else {}
    figures = {
        "ledger": named.ledger(),
        "stage1": named.stage1(),
        "orderings": ordered,
        "verdicts": dict(Counter(one["verdict"] for one in ordered.values())),
        "rounds": rounds.rounds(),
        "natural": {"ledger": natural.ledger(), "stage1": natural.stage1()},
        "curve": curve,
        "tuning": tuning,
        "at_equal_settings": at_equal_settings(tuning),
        "seeds": {"blind": named.seeds, "natural": natural.seeds, "rounds": rounds.seeds},
        "unfinished": {"blind": named.unfinished(ARMS), "natural": natural.unfinished(ARMS)},
    }
    return figures | {"deviations": deviations(figures, scale)}
