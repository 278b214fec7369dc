"""The trained models: how each method spends its budget on training levels, and its training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from leafe_gym._files import write_text
from leafe_gym.agents.agent import resolve_prompts
from leafe_gym.budget import Budget
from leafe_gym.distill.data.row_types import Encoded
from leafe_gym.distill.training.config import TrainConfig
from leafe_gym.distill.training.train import train
from leafe_gym.envs.sokoban.rules import ACTIONS
from leafe_gym.evals.controls import Donor, random_tau, swap_experiences
from leafe_gym.evals.reproduce.group_budget import GroupBudget
from leafe_gym.evals.reproduce.grpo import GrpoConfig, grpo
from leafe_gym.evals.reproduce.levels import LevelSet, load
from leafe_gym.evals.reproduce.protocol import AGENT, Scale
from leafe_gym.evals.reproduce.row_batches import alternatives, drawn, run_rows
from leafe_gym.evals.samplers import make_agent
from leafe_gym.exploration.config import ExploreConfig
from leafe_gym.exploration.engine import explore
from leafe_gym.policies.base import Policy
from leafe_gym.seeds import derive_rng
from leafe_gym.tiny.policy import TinyPolicy
from leafe_gym.types import Json

RANDOM_EXPERIENCES = tuple(
    Donor("", f"not {bad} but {good}") for bad in ACTIONS for good in ACTIONS if bad != good
)
"""For a tree whose experiences have no relation to the episode."""


@dataclass(slots=True)
class MethodTrainer:
    """Methods on one base and its training levels. Models that exist in `folder` are reused.

    Attributes:
        base: the model all begin from.
        train: training levels.
        scale: how much is run.
        seed: of all random choices here.
        folder: for runs and models.
        notes: figures about the methods; added to.
    """

    base: Path
    train: LevelSet
    scale: Scale
    seed: int
    folder: Path
    notes: dict[str, Json]

    def collect(
        self, name: str, model: Path, factor: int = 1, actor: Policy | None = None
    ) -> dict[str, list[Encoded]]:
        """Rows of a run with one sampler at `factor` times the budget.

        Args:
            name: of the run: "is", "tree" or "random", and a suffix after a hyphen.
            model: acts and reflects.
            factor: on the budget.
            actor: acts and reflects in place of the model.
        """
        policy: Policy = actor or TinyPolicy.load(model, self.scale.device)
        prompts = resolve_prompts(policy, AGENT, self.train.tasks[0].env_id)
        sampler = name.partition("-")[0]
        if sampler == "random":
            prompts = swap_experiences(prompts, RANDOM_EXPERIENCES, self.seed)
            prompts = random_tau(prompts, self.seed)
        config = AGENT.replace(prompts=prompts)
        folder = self.folder / "runs" / name
        with explore(
            make_agent("is" if sampler == "is" else "tree", policy, config),
            self.train.tasks,
            budget=Budget(interactions=factor * self.scale.train_interactions),
            out=folder,
            concurrency=128,
            config=ExploreConfig(seed=self.seed),
        ) as run:
            trees = list(run.trees())
        rows = run_rows(folder, self.train.world, prompts)
        self.notes[name] = {
            "solved": sum(tree.solved for tree in trees) / len(trees),
            "interactions": sum(tree.spent.interactions for tree in trees),
            **{kind: len(found) for kind, found in rows.items()},
        }
        return rows

    def distil(
        self, name: str, model: Path, *parts: tuple[Sequence[Encoded], int], steps: int = 0
    ) -> Path:
        """`model` trained on `parts`: rows, and their number in each optimizer step.

        Without any row the model is returned unchanged.
        """
        steps = steps or self.scale.steps
        rng = derive_rng(self.seed, name)
        rows = [row for part, share in parts for row in drawn(part, steps * share, rng)]
        if not rows:
            return model
        result = train(
            rows,
            model=model,
            out=self.folder / "models" / name,
            config=TrainConfig(
                epochs=1,
                batch=len(rows) // steps,
                micro_batch=len(rows) // steps,
                lr=self.scale.lr,
                schedule="linear",
                warmup=min(10, steps - 1),
                save_every=10 * steps,
                seed=self.seed,
            ),
            progress=lambda *_: None,  # disables the progress bars of transformers
        )
        return result.model

    def grpo(self, name: str, model: Path, factor: int = 1) -> Path:
        """`model` trained by GRPO at `factor` times the budget.

        A level's last group is smaller if its budget does not hold a whole one.
        """
        out, done = self.folder / "models" / name, self.folder / "models" / name / "grpo.json"
        if not done.exists():
            network = load(model, self.scale.device)
            budget = GroupBudget(
                self.train,
                factor * self.scale.train_interactions,
                derive_rng(self.seed, name),
                group=self.scale.group,
                tasks=self.scale.grpo_tasks,
            )
            taken = grpo(network, budget.sample, GrpoConfig(lr=self.scale.grpo_lr))
            network.save_pretrained(str(out))
            write_text(done, json.dumps({"updates": taken, "interactions": budget.spent}))
        self.notes[name] = json.loads(done.read_text("utf-8"))
        return out

    def early(self) -> Path:
        """Early Experience: predict what alternatives lead to, then imitate."""
        rng = derive_rng(self.seed, "early")
        chain = self.train.chain(load(self.base, self.scale.device))
        predict, imitate = alternatives(self.train, chain, self.scale.train_interactions, rng)
        self.notes["early"] = {"predict": len(predict), "imitate": len(imitate)}
        batch, half = self.scale.batch, self.scale.steps // 2
        world = self.distil("early-world", self.base, (predict, batch), steps=half)
        return self.distil("early", world, (imitate, batch))
