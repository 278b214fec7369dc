"""Figures of several bases as one, with intervals over seeds and tasks together.

Verdicts are given for orderings of samplers, all of them corrected together by Holm's method. All
else is exploratory: there is no correction, and the baselines of trained models were not tuned
(`leafe_gym.evals.reproduce.limits`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from leafe_gym.evals.bench import UNIT_KEYS
from leafe_gym.evals.intervals import holm, two_way_difference, two_way_mean
from leafe_gym.evals.passk import pass_at_k, pass_from_chance
from leafe_gym.evals.reproduce.protocol import CROSS_CHECK, KS
from leafe_gym.types import Json

Values = NDArray[np.float64]
MARGIN = 0.02
"""How far below an ordering "at least as good" may reach and still count as reproduced."""

DECIDED = ("tree_gt_is_interactions", "tree_gt_ir_interactions", "tree_ge_is_uncached")
"""Orderings of the paper that a run decides on: samplers at equal budgets."""
EXPLORATORY = "exploratory"
"""In place of a verdict on two trained models."""


def corrected(found: Mapping[str, Json]) -> dict[str, Json]:
    """The differences with their verdicts, of which one in twenty runs has a wrong one (Holm).

    An ordering is "reproduced", "reversed" or "undecided"; a difference without a p-value is
    exploratory.
    """
    rejected = holm({name: one["p_value"] for name, one in found.items() if "p_value" in one})

    def verdict(name: str) -> str:
        if name not in rejected:
            return EXPLORATORY
        if not rejected[name]:
            return "undecided"
        bound = -MARGIN if "_ge_" in name else 0.0
        return "reproduced" if found[name]["mean"] > bound else "reversed"

    return {name: dict(one) | {"verdict": verdict(name)} for name, one in found.items()}


class Merged:
    """All figures of one kind of base over its seeds.

    Args:
        seeds: what `run_base` returned for each.
    """

    def __init__(self, seeds: Sequence[Json]) -> None:
        self.seeds = seeds
        self.samplers = list(seeds[0]["stage1"]["methods"])
        self.models = sorted({method_of(name) for name in seeds[0]["trained"]["success"]})

    def solved(self, method: str, unit: str, against: Sequence[str] | None = None) -> Values:
        """1.0 where a seed solved a test level within the budget, else 0.0; [seeds, tasks].

        In interactions the budget is the given one; in tokens it is the largest spending at which
        the solved levels of each of `against` (default: all samplers) are known.
        """
        per_seed = []
        for seed in self.seeds:
            methods = seed["stage1"]["methods"]
            level = float(seed["stage1"]["interactions"])
            if unit != "interactions":
                level = min(largest_known(methods[name][unit]) for name in against or self.samplers)
            per_seed.append(spent_at_success(methods[method][unit]) <= level)
        return np.asarray(per_seed, dtype=np.float64)

    def pass_at(self, model: str, k: int, where: str = "success") -> Values:
        """1 - (1 - p)^k, averaged over the runs of a seed; [seeds, tasks].

        In the recovery pool nan where a seed has no state of a task.
        """
        found: list[dict[int, float]] = []
        for seed in self.seeds:
            trained = seed["trained"]
            names = [name for name in trained[where] if method_of(name) == model]
            values = np.mean([self._passed(trained, name, k, where) for name in names], axis=0)
            tasks = trained["pool"] if where == "recovery" else range(len(values))
            found.append(dict(zip(tasks, values.tolist(), strict=True)))
        every = sorted(set().union(*found))
        return np.array([[one.get(task, np.nan) for task in every] for one in found], np.float64)

    def _passed(self, trained: Json, name: str, k: int, where: str) -> Values:
        """1 - (1 - p)^k of one model on each task."""
        return pass_from_chance(trained[where][name], k)

    def figures(self) -> Json:
        """Means with their intervals under the published keys."""
        keys = {name.replace("-", "_"): name for name in self.samplers}
        stage1 = {
            key: {unit: interval(self.solved(name, unit)) for unit in UNIT_KEYS}
            for key, name in keys.items()
        }
        passk = {
            model: {str(k): interval(self.pass_at(model, k)) for k in KS} for model in self.models
        }
        recovery = {
            model: {str(k): interval(self.pass_at(model, k, "recovery")) for k in (1, 16)}
            for model in self.models
        }
        return {
            "stage1": stage1,
            "passk": passk,
            "recovery": recovery,
            "ablation": {"reh": _ends(passk["reh"]), "reh_cf": _ends(passk["leafe"])},
            "by_blind_pushes": self._by_blind(),
            "elsewhere": self._elsewhere(),
            "grpo_spread": self._spread(),
            "cross_check": self._cross_check(),
            "reflector": {
                name: float(np.mean([seed["stage1"]["reflector"][name] for seed in self.seeds]))
                for name in self.seeds[0]["stage1"]["reflector"]
            },
            "methods": [seed["methods"] for seed in self.seeds],
            "cpu_seconds": [seed["cpu_seconds"] for seed in self.seeds],
        }

    def orderings(self) -> dict[str, dict[str, Json]]:
        """All differences, those of `DECIDED` first."""
        found = {
            "tree_gt_is_interactions": self.sampler("tree", "is", "interactions"),
            "tree_gt_ir_interactions": self.sampler("tree", "ir", "interactions"),
            "tree_ge_is_uncached": self.sampler("tree", "is", "tokens_uncached", at_least=True),
            "leafe_gt_grpo_pass128": self.model("leafe", "grpo", 128),
            "leafe_gt_grpo_recovery16": self.model("leafe", "grpo", 16, "recovery"),
            "ir_gt_is_interactions": self.sampler("ir", "is", "interactions"),
            "tree_ge_is_total": self.sampler("tree", "is", "tokens_total", at_least=True),
        }
        for name in self.samplers:
            if name not in ("tree", "is", "ir", "oracle-tau"):
                key = name.replace("-", "_")
                found[f"tree_gt_{key}_interactions"] = self.sampler("tree", name, "interactions")
        pairs = [
            ("leafe", "base"), ("grpo", "base"), ("early", "base"), ("leafe", "early"),
            ("leafe", "grpo"), ("leafe", "grpo_3x"), ("leafe", "rft"), ("leafe", "rft_3x"),
            ("reh", "reh_random"), ("leafe", "reh"), ("leafe_grpo", "grpo"),
            ("leafe_early", "leafe"),
        ]  # fmt: skip
        for ours, theirs in pairs:
            for k in (1, 128):
                found.setdefault(f"{ours}_gt_{theirs}_pass{k}", self.model(ours, theirs, k))
        return corrected(found | self._orderings_elsewhere())

    def sampler(self, ours: str, theirs: str, unit: str, *, at_least: bool = False) -> Json:
        """Whether one sampler solves more than, or at least as much as, another."""
        pair = (ours, theirs)
        first, second = (self.solved(name, unit, pair) for name in pair)
        gap = two_way_difference(first, second, MARGIN if at_least else 0.0)
        return gap.interval.as_dict() | {"p_value": gap.p_value}

    def model(self, ours: str, theirs: str, k: int, where: str = "success") -> Json:
        """The difference of two models' Pass@k."""
        gap = two_way_difference(self.pass_at(ours, k, where), self.pass_at(theirs, k, where))
        return gap.interval.as_dict()

    def _orderings_elsewhere(self) -> dict[str, dict[str, Json]]:
        """Pass@128 on levels out of distribution (Table 5)."""
        pairs = [("leafe", "base"), ("leafe", "grpo"), ("base", "grpo"), ("leafe", "reh")]
        found = {}
        for title in self.seeds[0]["trained"]["elsewhere"]:
            passed = {
                name: self.pass_elsewhere(title, name, 128) for pair in pairs for name in pair
            }
            for ours, theirs in pairs:
                gap = two_way_difference(passed[ours], passed[theirs])
                key = f"{ours}_gt_{theirs}_{title.replace(' ', '_')}_pass128"
                found[key] = gap.interval.as_dict()
        return found

    def pass_elsewhere(self, title: str, model: str, k: int) -> Values:
        """`pass_at` on levels out of distribution; [seeds, tasks]."""
        found = []
        for seed in self.seeds:
            models = seed["trained"]["elsewhere"][title].items()
            runs = [pass_from_chance(p, k) for name, p in models if method_of(name) == model]
            found.append(np.mean(runs, axis=0))
        return np.asarray(found, dtype=np.float64)

    def _by_blind(self) -> Json:
        needed = np.minimum(np.array(self.seeds[0]["trained"]["blind_pushes"]), 2)
        return {
            model: {
                f"{count}{'+' if count == 2 else ''}": {
                    str(k): float(self.pass_at(model, k)[:, needed == count].mean())
                    for k in (1, 128)
                }
                for count in range(3)
                if (needed == count).any()
            }
            for model in self.models
        }

    def _elsewhere(self) -> Json:
        return {
            title: {
                method_of(name): {
                    str(k): _mean(self.pass_elsewhere(title, method_of(name), k)) for k in (1, 128)
                }
                for name in models
            }
            for title, models in self.seeds[0]["trained"]["elsewhere"].items()
        }

    def _cross_check(self) -> Json:
        """Exact and sampled success of the first seed, and how many standard errors apart."""
        trained = self.seeds[0]["trained"]
        found: Json = {}
        for name, wins in trained["sampled"].items():
            exact = np.array(trained["success"][name])
            error = np.sqrt((exact * (1 - exact) / CROSS_CHECK).sum()) / len(exact)
            rate = float(np.mean(wins) / CROSS_CHECK)
            found[name] = {
                "exact": {"1": float(exact.mean()), "128": _mean(pass_from_chance(exact, 128))},
                "sampled": {"1": rate, "128": _mean(pass_at_k(wins, CROSS_CHECK, 128))},
                "errors_apart": abs(rate - float(exact.mean())) / float(error),
            }
        return found

    def _spread(self) -> Json:
        """Pass@1 and Pass@128 of every single GRPO run."""
        return {
            str(k): [
                _mean(pass_from_chance(chances, k))
                for seed in self.seeds
                for name, chances in seed["trained"]["success"].items()
                if method_of(name) == "grpo"
            ]
            for k in (1, 128)
        }


def _mean(values: Values) -> float:
    return float(values.mean())


def method_of(name: str) -> str:
    """The method of a model; the runs of GRPO are numbered."""
    stem, _, number = name.rpartition("_")
    return stem if number.isdigit() else name


def spent_at_success(spending: Json) -> Values:
    """What each task had cost at its first success, infinite without one; [tasks]."""
    return np.array([np.inf if at is None else at for at in spending["solved_at"]])


def largest_known(spending: Json) -> float:
    """The largest spending at which the solved levels are known."""
    used = np.array([np.inf if one is None else one for one in spending["used"]], np.float64)
    unsolved = used[np.isinf(spent_at_success(spending))]
    return float(unsolved.min(initial=np.inf))


def interval(values: Values) -> Json:
    """A mean with its interval, for JSON."""
    return two_way_mean(values).as_dict()


def _ends(passk: Json) -> Json:
    return {k: passk[k] for k in ("1", "128")}
