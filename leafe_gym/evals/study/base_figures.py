"""Figures of the finished cells of one kind of base, with intervals over seeds and layouts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path

import numpy as np

from leafe_gym.errors import ConfigMismatch
from leafe_gym.evals.bench import UNIT_KEYS
from leafe_gym.evals.intervals import two_way_mean
from leafe_gym.evals.passk import pass_from_chance
from leafe_gym.evals.reproduce.merge import Values, largest_known, method_of, spent_at_success
from leafe_gym.evals.reproduce.protocol import KS
from leafe_gym.evals.study.cells import read_cell
from leafe_gym.evals.study.run import ARMS, IN_ROUNDS
from leafe_gym.evals.study.scale import StudyScale
from leafe_gym.types import Json

NO_RECOVERY = ("in_context",)
"""Arms whose experience belongs to the start of a level, not to a state of the recovery pool."""


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
