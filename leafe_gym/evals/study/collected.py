"""Runs on training levels, and the rows that methods take from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from leafe_gym.agents.agent import resolve_prompts
from leafe_gym.budget import Budget
from leafe_gym.distill.data.config import RowConfig
from leafe_gym.distill.data.dataset import rows as make_rows
from leafe_gym.distill.data.row_types import Encoded, Row
from leafe_gym.distill.data.select import gain
from leafe_gym.distill.data.tokens import Encoder
from leafe_gym.errors import NoRows
from leafe_gym.evals.controls import (
    Donor,
    random_tau,
    swap_experiences,
    withhold_experiences,
)
from leafe_gym.evals.reproduce.levels import LevelSet
from leafe_gym.evals.reproduce.protocol import AGENT
from leafe_gym.evals.reproduce.train_methods import RANDOM_EXPERIENCES
from leafe_gym.evals.samplers import make_agent
from leafe_gym.evals.study.waiting import alone
from leafe_gym.exploration.config import ExploreConfig
from leafe_gym.exploration.engine import explore
from leafe_gym.prompts.base import PromptSet
from leafe_gym.store.reader import RunReader
from leafe_gym.tiny.policy import TinyPolicy
from leafe_gym.tiny.words import make_tokenizer
from leafe_gym.tree import Tree
from leafe_gym.types import Json

REHEARSAL = RowConfig(per_task=None, rehearsal=1.0, keep="all", hidden="keep")
"""Every success is rehearsed."""


@dataclass(frozen=True, slots=True)
class Collected:
    """A finished run on training levels.

    Attributes:
        folder: of the run.
        prompts: its prompt set.
        notes: share of levels solved, interactions and tokens.
    """

    folder: Path
    prompts: PromptSet
    notes: dict[str, Json]

    def rehearsal(self) -> list[Encoded]:
        """Every step of every success."""
        return [row for row in self.rows(REHEARSAL) if row.kind == "rehearsal"]

    def rows(self, config: RowConfig) -> list[Encoded]:
        """Rows as token ids; none where the run has none."""
        encoder = Encoder(make_tokenizer())
        found: list[Encoded] = []
        try:
            for row in make_rows(self.folder, config, prompts=self.prompts):
                encoded = encoder.encode(row)
                assert encoded is not None
                found.append(encoded)
        except NoRows:
            pass
        return found

    def everywhere(self) -> list[Encoded]:
        """Every action of the branches that did better than their parent, with its teacher.

        The teacher has the branch's experience in its prompt at each of them, not at tau only.
        """
        encoder = Encoder(make_tokenizer())
        with RunReader(self.folder) as run:
            made = [row for tree in run.trees() for row in taught_everywhere(tree, self.prompts)]
        found = [encoder.encode(row) for row in made]
        return [row for row in found if row is not None]


def taught_everywhere(tree: Tree, prompts: PromptSet) -> Iterator[Row]:
    """Rows of all own actions of the improved branches of a tree; see `Collected.everywhere`."""
    for branch in tree.branches:
        told = branch.experience
        better = gain(tree, branch) if branch.parent is not None else 0.0
        if told is None or better <= 0:
            continue
        history = list(tree.history(branch.id))
        first = len(history) - len(branch.steps)
        for number, step in enumerate(branch.steps):
            if step.action is None:
                continue
            before = history[: first + number]
            yield Row(
                kind="counterfactual",
                task=tree.task.id,
                split=tree.task.split,
                branch=branch.id,
                step=number,
                prompt=tuple(prompts.render(tree.task, tree.start, before)),
                target=step.reply,
                improved=True,
                gain=better,
                teacher=tuple(prompts.render(tree.task, tree.start, before, [told])),
            )


@dataclass(slots=True)
class Collector:
    """Explores training levels with a model; runs that exist are not made again.

    Attributes:
        levels: training levels.
        interactions: budget a level.
        seed: of all runs.
        folder: for the runs.
    """

    levels: LevelSet
    interactions: int
    seed: int
    folder: Path
    _made: dict[str, Collected] = field(default_factory=dict)

    def collect(self, sampler: str, model: Path, temperature: float, name: str = "") -> Collected:
        """One run.

        Args:
            sampler: "is"; "tree"; or a control of it, "tree_random" (random tau and experience),
                "tree_empty" (no experience in any prompt) or "tree_other" (another level's).
            model: acts and reflects.
            temperature: of acting.
            name: of the run, if the model is not the base.
        """
        title = f"{name or 'base'}-{sampler}-{temperature:g}"
        if title not in self._made:
            policy = TinyPolicy.load(model)
            prompts = self._prompts(sampler, model, temperature, name)
            with (
                alone(self.folder / title),
                explore(
                    make_agent(
                        "is" if sampler == "is" else "tree",
                        policy,
                        AGENT.replace(prompts=prompts, temperature=temperature),
                    ),
                    self.levels.tasks,
                    budget=Budget(interactions=self.interactions),
                    out=self.folder / title,
                    concurrency=128,
                    config=ExploreConfig(seed=self.seed),
                ) as run,
            ):
                trees = list(run.trees())
            notes: dict[str, Json] = {
                "solved": sum(tree.solved for tree in trees) / len(trees),
                "interactions": sum(tree.spent.interactions for tree in trees),
                "tokens_sampled": sum(tree.spent.completion_tokens for tree in trees),
            }
            self._made[title] = Collected(self.folder / title, prompts, notes)
        return self._made[title]

    def _prompts(self, sampler: str, model: Path, temperature: float, name: str) -> PromptSet:
        plain = resolve_prompts(TinyPolicy.load(model), AGENT, self.levels.tasks[0].env_id)
        if sampler == "tree_empty":
            return withhold_experiences(plain)
        if sampler == "tree_random":
            return random_tau(swap_experiences(plain, RANDOM_EXPERIENCES, self.seed), self.seed)
        if sampler == "tree_other":
            with RunReader(self.collect("tree", model, temperature, name).folder) as run:
                donors = [
                    Donor(tree.task.id, branch.experience.text)
                    for tree in run.trees()
                    for branch in tree.branches
                    if branch.experience is not None
                ]
            return swap_experiences(plain, donors, self.seed)
        return plain
