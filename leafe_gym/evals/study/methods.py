"""The methods of the study: what each collects, what it trains on, and how.

All begin from a base unless they say so, and spend the same interactions on the same levels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from leafe_gym.distill.data.config import RowConfig
from leafe_gym.distill.data.row_types import Encoded
from leafe_gym.evals.reproduce.levels import LevelSet, load
from leafe_gym.evals.reproduce.row_batches import alternatives
from leafe_gym.evals.study.collected import Collected, Collector
from leafe_gym.evals.study.scale import StudyScale
from leafe_gym.evals.study.settings import Setting
from leafe_gym.evals.study.training import batches, reinforced, supervised
from leafe_gym.seeds import derive_rng
from leafe_gym.types import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A model and what it cost.

    Attributes:
        model: its folder.
        costs: interactions, optimizer steps, tokens and CPU seconds.
    """

    model: Path
    costs: dict[str, Json] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class MethodContext:
    """One base with its training levels, on which methods are run.

    Attributes:
        base: the model that methods begin from.
        levels: training levels.
        interactions: budget a level.
        scale: of the study.
        seed: of the base and all that follows.
        folder: for runs and models.
        name: of the model that collects, if it is not the base.
        run: which of several runs of a method on this base.
    """

    base: Path
    levels: LevelSet
    interactions: int
    scale: StudyScale
    seed: int
    folder: Path
    name: str = ""
    run: int = 0
    _collector: Collector | None = None

    def collect(self, sampler: str, setting: Setting) -> Collected:
        """A run of the base; see `Collector.collect`."""
        if self._collector is None:
            folder = self.folder / "runs"
            self._collector = Collector(self.levels, self.interactions, self.seed, folder)
        return self._collector.collect(sampler, self.base, setting.temperature, self.name)

    def fit(
        self,
        title: str,
        setting: Setting,
        rehearsal: list[Encoded],
        counterfactual: list[Encoded],
        *,
        model: Path | None = None,
        taught: bool = False,
        improved: bool = True,
    ) -> Trained:
        """A model trained on rows; see `batches` and `supervised`."""
        setting = replace(setting, steps=max(1, round(setting.steps * self.scale.steps)))
        rng = derive_rng(self.seed, "rows", self.name, title, self.run)
        rows = batches(rehearsal, counterfactual, setting, self.scale.batch, rng)
        trained, costs = supervised(
            title, model or self.base, rows, setting, self.folder / "models",
            seed=self.seed, taught=taught, improved=improved,
        )  # fmt: skip
        counts = {"rehearsal": len(rehearsal), "counterfactual": len(counterfactual)}
        return Trained(model=trained, costs=counts | costs)


WORLD = "-world"
"""Added to the title of Early Experience's first model, which predicts."""

Method = Callable[[MethodContext, Setting, str], Trained]
"""`f(context, setting, title)`: the trained model, kept under `title`."""


def rehearse(sampler: str) -> Method:
    """Likelihood of every step of every success of a sampler."""

    def method(context: MethodContext, setting: Setting, title: str) -> Trained:
        run = context.collect(sampler, setting)
        return _with(context.fit(title, setting, run.rehearsal(), []), run)

    return method


def leafe(sampler: str) -> Method:
    """L_cf on sampled replies of branches that won or improved, and L_reh on every success."""

    def method(context: MethodContext, setting: Setting, title: str) -> Trained:
        run = context.collect(sampler, setting)
        revised = _counterfactual(run, RowConfig(keep=setting.keep, per_task=None, hidden="keep"))
        return _with(context.fit(title, setting, run.rehearsal(), revised), run)

    return method


def leafe_paper(context: MethodContext, setting: Setting, title: str) -> Trained:
    """Stage 2 as published: all branches, three rows a task, 20 % of the successes."""
    run = context.collect("tree", setting)
    rows = run.rows(RowConfig.paper(hidden="keep", seed=context.seed))
    plain = [row for row in rows if row.kind == "rehearsal"]
    revised = [row for row in rows if row.kind == "counterfactual"]
    return _with(context.fit(title, setting, plain, revised), run)


def taught(*, everywhere: bool = False, improved: bool = True) -> Method:
    """`objective="kl"`: the model with the experience in its prompt teaches itself without it.

    Args:
        everywhere: at every action of a branch instead of at tau only.
        improved: only branches that were executed and did better than their parent.
    """

    def method(context: MethodContext, setting: Setting, title: str) -> Trained:
        run = context.collect("tree", setting)
        config = RowConfig.verified(per_task=None, hidden="keep")
        if not improved:
            config = config.replace(keep="all")
        revised = run.everywhere() if everywhere else _counterfactual(run, config)
        if not improved:  # a branch that did not do better has no gain to be weighted by
            setting = replace(setting, weight="one")
        made = context.fit(title, setting, run.rehearsal(), revised, taught=True, improved=improved)
        return _with(made, run)

    return method


def early(context: MethodContext, setting: Setting, title: str) -> Trained:
    """Early Experience: predict what alternatives lead to, then imitate."""
    rng = derive_rng(context.seed, "early", context.run)
    chain = context.levels.chain(load(context.base), setting.temperature)
    predict, imitate = alternatives(context.levels, chain, context.interactions, rng)
    first = max(1, round(setting.steps * setting.predict))
    world = context.fit(title + WORLD, replace(setting, steps=first), predict, [])
    rest = replace(setting, steps=max(1, setting.steps - first))
    made = context.fit(title, rest, imitate, [], model=world.model)
    both = (world.costs, made.costs)
    sums = {
        name: sum(one.get(name, 0) for one in both)
        for name in ("steps", "tokens_read", "cpu_seconds")
    }
    spent = {
        "interactions": context.interactions * len(context.levels.tasks),
        "predict": len(predict),
    }
    return Trained(model=made.model, costs=made.costs | sums | spent)


def grpo(context: MethodContext, setting: Setting, title: str) -> Trained:
    """Group-relative policy optimization on the success of whole episodes."""
    rng = derive_rng(context.seed, "grpo", context.name, context.run)
    model, costs = reinforced(
        title,
        context.base,
        context.levels,
        context.interactions,
        setting,
        context.folder / "models",
        rng,
    )
    return Trained(model=model, costs=costs)


METHODS: dict[str, Method] = {
    "rft": rehearse("is"),
    "grpo": grpo,
    "early": early,
    "reh": rehearse("tree"),
    "reh_random": rehearse("tree_random"),
    "leafe_paper": leafe_paper,
    "leafe": leafe("tree"),
    "leafe_empty": leafe("tree_empty"),
    "leafe_other": leafe("tree_other"),
    "leafe_kl": taught(),
    "kl_unverified": taught(improved=False),
    "kl_everywhere": taught(everywhere=True),
}
"""Methods that are tuned; see `TITLES`."""

TITLES: dict[str, str] = {
    "base": "base",
    "rft": "rejection-sampling SFT",
    "grpo": "GRPO",
    "early": "Early Experience",
    "reh": "rehearsal (L_reh)",
    "reh_random": "rehearsal, random tau and experience",
    "leafe_paper": "LEAFE as published",
    "leafe_paper_grpo": "LEAFE as published, from GRPO (twice the interactions)",
    "leafe": "LEAFE, sampled tokens (ours)",
    "leafe_empty": "the same without the experience",
    "leafe_other": "the same with another level's experience",
    "leafe_kl": 'LEAFE, objective="kl" (ours)',
    "kl_unverified": "the same on all branches, unverified",
    "kl_everywhere": "the same at every action instead of tau",
    "in_context": "base, experience kept in the prompt",
    "playbook": "base, playbook of eight experiences in the prompt",
}


def _counterfactual(run: Collected, config: RowConfig) -> list[Encoded]:
    return [row for row in run.rows(config) if row.kind == "counterfactual"]


def _with(made: Trained, run: Collected) -> Trained:
    return Trained(model=made.model, costs=run.notes | made.costs)
