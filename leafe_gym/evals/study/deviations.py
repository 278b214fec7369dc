"""Where the run departs from its protocol; the report states each."""

from __future__ import annotations

from leafe_gym.evals.study.bases import CURVE_SEEDS, SEEDS
from leafe_gym.evals.study.methods import TITLES
from leafe_gym.evals.study.scale import StudyScale
from leafe_gym.types import Json

TEST_LAYOUTS = 300
"""Of the protocol; the generator finds 289 in the levels that are looked at."""

KNOWN = (
    "What was changed after the first figure on a test level is in section 8.",
    "Three times the interactions (section 4) was not run.",
    "Samplers (orderings 1 to 3) act at temperature 1 and were not tuned. The share of training "
    "levels that a trial's sampler solved is in the tables of the sweep, at each temperature.",
    "The steps with and without counterfactual rows (section 7) follow each other in an order that "
    "is drawn; the last steps are not the ones that rehearse only.",
    "Without verification every row has the weight one: a branch that did not do better has no "
    "gain. `weight` is therefore not varied there.",
    "Settings were chosen on the base of seed 0, whose test figures are among the means.",
)
"""Deviations of every run of this version."""


def deviations(figures: Json, scale: StudyScale) -> list[str]:
    """All deviations, as sentences.

    Args:
        figures: what `conclude` found so far.
        scale: of the study.
    """
    found = []
    levels = {one["levels"] for one in figures["ledger"].values()}
    if levels and levels != {TEST_LAYOUTS}:
        count = ", ".join(map(str, sorted(levels)))
        found.append(
            f"{count} test layouts instead of {TEST_LAYOUTS}: the generator gives 289 (section 8)."
        )
    found += [
        f"GRPO at the weight {weight}: {one['grpo_runs']} training seed(s) on each base instead of "
        f"{scale.grpo_runs}."
        for weight, one in figures["curve"].items()
        if 0 < one["grpo_runs"] < scale.grpo_runs
    ]
    seeds = figures["seeds"]["rounds"]
    if 0 < seeds < SEEDS:
        found.append(f"Rounds: {seeds} of {SEEDS} pretraining seeds have run.")
    few = [weight for weight, one in figures["curve"].items() if one["seeds"] < CURVE_SEEDS]
    if few:
        found.append(f"Fewer than {CURVE_SEEDS} pretraining seeds: weight {', '.join(few)}.")
    if "grpo" in figures["rounds"]:
        found.append("GRPO in rounds: one training seed on each base.")
    uncounted = [
        TITLES[name]
        for name, one in figures["ledger"].items()
        if one["costs"].get("steps") and "tokens_sampled" not in one["costs"]
    ]
    if uncounted:
        found.append(f"Tokens sampled were not counted for: {'; '.join(uncounted)}.")
    return [*found, *KNOWN]
