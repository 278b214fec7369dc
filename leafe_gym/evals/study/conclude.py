"""Figures of the study with intervals over seeds and layouts, and the declared orderings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leafe_gym.errors import ConfigMismatch
from leafe_gym.evals.bench import UNIT_KEYS
from leafe_gym.evals.intervals import holm, two_way_difference, two_way_mean
from leafe_gym.evals.passk import pass_from_chance
from leafe_gym.evals.reproduce.merge import (
    MARGIN,
    Values,
    largest_known,
    method_of,
    spent_at_success,
)
from leafe_gym.evals.reproduce.protocol import KS
from leafe_gym.evals.study.bases import CURVE, NAMED, NATURAL_NAME, SEEDS, blind_name
from leafe_gym.evals.study.cells import read_cell
from leafe_gym.evals.study.deviations import deviations
from leafe_gym.evals.study.run import ARMS, IN_ROUNDS, ON_THE_CURVE
from leafe_gym.evals.study.scale import StudyScale
from leafe_gym.evals.study.settings import SPACES
from leafe_gym.evals.study.tuning import FROZEN, read_settings
from leafe_gym.types import Json

NO_RECOVERY = ("in_context",)
"""Arms whose experience belongs to the start of a level, not to a state of the recovery pool."""


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


class BaseFigures:
    """The finished cells of one kind of base.

    Args:
        folder: of the study.
        base: name of the base.
        scale: of the study.
    """

    def __init__(self, folder: Path, base: str, scale: StudyScale) -> None:
        self.scale = scale
        self._cells: list[dict[str, Json]] = []
        for seed in range(100):
            own = folder / f"{base}-{seed}" / "cells"
            if own.is_dir():
                self._cells.append({path.stem: read_cell(path) for path in own.glob("*.json")})
        self._check_levels(folder / base)

    def _check_levels(self, where: Path) -> None:
        """All cells are of the same levels.

        Raises:
            ConfigMismatch: if some have other numbers of levels.
        """
        counts = {
            len(one["success"]) for own in self._cells for one in own.values() if "pool" in one
        }
        if len(counts) > 1:
            few, many = min(counts), max(counts)
            raise ConfigMismatch(
                f"{where}-*: cells of {few} and of {many} test levels are from runs at different "
                "scales; use a folder for each"
            )

    @property
    def seeds(self) -> int:
        """Pretraining seeds with a finished cell."""
        return len(self._cells)

    def has(self, name: str, *, runs: int | None = None) -> bool:
        """Whether a cell is finished on every seed, with all its runs.

        Args:
            name: of the cell.
            runs: of GRPO that are enough; None for all.
        """
        enough = (runs or self.scale.grpo_runs) if name == "grpo" else 1
        wanted = [name, *(f"{name}_{run}" for run in range(1, enough))]
        return bool(self._cells) and all(one in own for own in self._cells for one in wanted)

    def runs_of(self, arm: str) -> int:
        """Runs of an arm that are finished on every seed."""
        counts = [sum(method_of(name) == arm for name in own) for own in self._cells]
        return min(counts, default=0)

    def unfinished(self, arms: Sequence[str]) -> list[str]:
        """Those arms that have a cell, but not all."""
        begun = {method_of(name) for own in self._cells for name in own}
        return [arm for arm in arms if arm in begun and not self.has(arm)]

    def passed(self, arm: str, k: int, where: str = "success", title: str = "") -> Values:
        """1 - (1 - p)^k, averaged over the runs of a seed; nan without a state; [seeds, levels]."""
        found = []
        for own in self._cells:
            runs = [one for name, one in own.items() if method_of(name) == arm]
            chances = [one[where][title] if title else one[where] for one in runs]
            values = np.mean([pass_from_chance(one, k) for one in chances], axis=0)
            if where == "recovery":
                whole = np.full(len(runs[0]["success"]), np.nan)
                whole[np.asarray(runs[0]["pool"], dtype=np.int64)] = values
                values = whole
            found.append(values)
        return np.array(found, dtype=np.float64)

    def solved(self, sampler: str, unit: str = "interactions") -> Values:
        """1.0 where a sampler solved a level within the budget, else 0.0; [seeds, levels].

        In tokens the budget is the largest at which the solved levels of all samplers are known.
        """
        found = []
        for own in self._cells:
            at_success = spent_at_success(own["stage1"]["methods"][sampler][unit])
            found.append(at_success <= self._budget(own, unit))
        return np.array(found, dtype=np.float64)

    def _budget(self, own: Mapping[str, Json], unit: str) -> float:
        if unit == "interactions":
            return float(self.scale.stage1_interactions)
        methods = own["stage1"]["methods"].values()
        most = max((used or 0.0 for one in methods for used in one[unit]["used"]), default=0.0)
        return min(float(most), *(largest_known(one[unit]) for one in methods))

    def samplers(self) -> list[str]:
        """Names of the samplers compared; [] before they have run on every seed."""
        return list(self._cells[0]["stage1"]["methods"]) if self.has("stage1") else []

    def ledger(self) -> Json:
        """Pass@k, recovery and costs of every arm that is finished."""
        return {arm: self._arm_figures(arm) for arm in ARMS if self.has(arm)}

    def stage1(self) -> Json:
        """Levels solved by each sampler at equal budgets, and the budgets, mean over seeds."""
        return {
            name.replace("-", "_"): {
                unit: two_way_mean(self.solved(name, unit)).as_dict()
                | {"budget": float(np.mean([self._budget(own, unit) for own in self._cells]))}
                for unit in UNIT_KEYS
            }
            for name in self.samplers()
        }

    def in_rounds(self) -> BaseFigures:
        """Those seeds on which every round of every method is finished."""
        titles = {f"{method}-round-{n}" for method in IN_ROUNDS for n in self.numbers}
        found = copy(self)
        found._cells = [own for own in self._cells if titles <= own.keys()]
        return found

    def rounds(self) -> Json:
        """Pass@1 and Pass@128 after each round of each method, and "once": of one round."""
        found: Json = {}
        for method in IN_ROUNDS:
            titles = {f"{method}-round-{n}": str(n) for n in self.numbers} | {method: "once"}
            ends = self.ends(list(titles))
            if ends:
                found[method] = {titles[title]: one for title, one in ends.items()}
        return found

    @property
    def numbers(self) -> range:
        """Of the rounds."""
        return range(1, self.scale.rounds + 1)

    def ends(self, arms: Sequence[str], runs: int | None = None) -> dict[str, Json]:
        """Pass@1 and Pass@128 of those arms that are finished; see `has`."""
        return {
            arm: {f"pass{k}": two_way_mean(self.passed(arm, k)).as_dict() for k in (1, 128)}
            for arm in arms
            if self.has(arm, runs=runs)
        }

    def differences(self, ordering: Ordering) -> tuple[Values, Values] | None:
        """Both sides of an ordering; None where a cell is not finished."""
        pair = (ordering.ours, ordering.theirs)
        if ordering.measure == "solved":
            if not set(pair) <= set(self.samplers()):
                return None
            return self.solved(pair[0]), self.solved(pair[1])
        if not all(self.has(one) for one in pair):
            return None
        k = int(ordering.measure.removeprefix("pass"))
        return self.passed(pair[0], k), self.passed(pair[1], k)

    def _arm_figures(self, arm: str) -> Json:
        own = [
            one for cells in self._cells for name, one in cells.items() if method_of(name) == arm
        ]
        costs = [_charged(one["costs"]) for one in own]
        names = sorted({name for one in costs for name, value in one.items() if value is not None})
        figures = {f"pass{k}": two_way_mean(self.passed(arm, k)).as_dict() for k in KS}
        if arm not in NO_RECOVERY:
            figures |= {
                f"recovery{k}": two_way_mean(self.passed(arm, k, "recovery")).as_dict()
                for k in (1, 16)
            }
        elsewhere = own[0]["elsewhere"]
        by_seed = {f"pass{k}": self.passed(arm, k).mean(axis=1).tolist() for k in (1, 128)}
        return figures | {
            "by_seed": by_seed,
            "elsewhere": {
                title: {
                    f"pass{k}": two_way_mean(self.passed(arm, k, "elsewhere", title)).as_dict()
                    for k in (1, 128)
                }
                for title in elsewhere
            },
            "costs": {
                name: float(np.mean([one[name] for one in costs if name in one])) for name in names
            },
            "levels": len(own[0]["success"]),
            "runs": len(own),
        }


def _charged(costs: Json) -> Json:
    """Costs of a model that started from GRPO: those of both; none that one did not count."""
    before = {
        name.removeprefix("grpo_"): value
        for name, value in costs.items()
        if name.startswith("grpo_")
    }
    if not before:
        return costs
    own = {name: value for name, value in costs.items() if not name.startswith("grpo_")}
    uncounted = {"tokens_sampled", "tokens_read"} - before.keys()
    return {
        name: value + before.get(name, 0) for name, value in own.items() if name not in uncounted
    }


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
        pair = figures.differences(one)
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
    rounds = named.in_rounds()
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
        "orderings": orderings(named),
        "rounds": rounds.rounds(),
        "natural": {"ledger": natural.ledger(), "stage1": natural.stage1()},
        "curve": curve,
        "tuning": tuning,
        "at_equal_settings": at_equal_settings(tuning),
        "seeds": {"blind": named.seeds, "natural": natural.seeds, "rounds": rounds.seeds},
        "unfinished": {"blind": named.unfinished(ARMS), "natural": natural.unfinished(ARMS)},
    }
    return figures | {"deviations": deviations(figures, scale)}
