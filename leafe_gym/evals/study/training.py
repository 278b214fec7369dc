"""Supervised training and GRPO with the same number of interactions and stated costs."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from numpy.random import Generator

from leafe_gym._files import write_text
from leafe_gym.distill.data.row_types import Encoded
from leafe_gym.distill.training.config import TrainConfig
from leafe_gym.distill.training.train import train
from leafe_gym.evals.reproduce.group_budget import GroupBudget
from leafe_gym.evals.reproduce.grpo import (
    EpisodeBatch,
    EpisodeSampler,
    GrpoConfig,
    advantages,
    grpo,
)
from leafe_gym.evals.reproduce.levels import LevelSet, load
from leafe_gym.evals.reproduce.row_batches import drawn
from leafe_gym.evals.study.settings import Setting
from leafe_gym.evals.study.waiting import alone
from leafe_gym.types import Json

GRPO_LEVELS = 5
"""Levels of an update."""


def batches(
    rehearsal: Sequence[Encoded],
    counterfactual: Sequence[Encoded],
    setting: Setting,
    batch: int,
    rng: Generator,
) -> list[Encoded]:
    """The rows of all optimizer steps, those of one step with the same task name.

    Counterfactual rows are seen `cf_epochs` times at most. A step that has them has half a batch of
    each kind; the other steps rehearse only.

    Args:
        rehearsal: rows of L_reh.
        counterfactual: rows of L_cf.
        setting: steps and `cf_epochs`.
        batch: rows of a step.
        rng: draws their order.
    """
    half = batch // 2
    uses = min(setting.steps, -(-setting.cf_epochs * len(counterfactual) // half))
    steps = setting.steps if rehearsal else uses
    revised = iter(drawn(counterfactual, half * uses, rng))
    plain = iter(drawn(rehearsal, batch * steps - half * uses, rng))
    found: list[Encoded] = []
    for step in range(steps):
        own = list(islice(revised, half))
        own += islice(plain, batch - len(own))
        found += [replace(row, task=f"step {step}") for row in own]
    return found


def supervised(
    name: str,
    model: Path,
    rows: Sequence[Encoded],
    setting: Setting,
    out: Path,
    *,
    seed: int,
    taught: bool = False,
    improved: bool = True,
) -> tuple[Path, dict[str, Json]]:
    """A model trained on batches; without a row it is returned unchanged.

    Args:
        name: of the model.
        model: what it begins as.
        rows: see `batches`.
        setting: how.
        out: folder for models.
        seed: of the order of the steps.
        taught: use `objective="kl"` for rows with a teacher.
        improved: see `TrainConfig.only_improved`.

    Returns:
        Its folder, and what the training cost.
    """
    if not rows:
        return model, {"steps": 0}
    steps = len({row.task for row in rows})
    size = len(rows) // steps
    began = time.process_time()
    # Action words are all that a teacher's experience and a reply have in common here: without
    # them there would be nothing to learn.
    result = train(
        rows,
        model=model,
        out=out / name,
        config=TrainConfig(
            epochs=1, batch=size, micro_batch=size, lr=setting.lr, beta=setting.beta,
            schedule="linear", warmup=min(10, steps - 1), save_every=10 * steps, seed=seed,
            order="task", objective="kl" if taught else "sft", divergence=setting.divergence,
            teacher_weights=setting.teacher_weights, weight=setting.weight if taught else "one",
            only_improved=improved, exclude_quotes=False,
        ),
        progress=lambda *_: None,  # disables the progress bars of transformers
    )  # fmt: skip
    costs: dict[str, Json] = {
        "steps": result.steps,
        "tokens_read": result.tokens,
        "cpu_seconds": round(time.process_time() - began, 1),
    }
    return result.model, costs


@dataclass(slots=True)
class CountedTokens:
    """A sampler of episodes that counts tokens.

    Attributes:
        sampler: gives the episodes of each update.
        epochs: optimizer steps on each batch.
        sampled: tokens of all replies.
        read: tokens of the prompts and replies that updates were computed from, in all epochs.
    """

    sampler: EpisodeSampler
    epochs: int
    sampled: int = 0
    read: int = 0

    def __call__(self, network: Any, update: int) -> EpisodeBatch | None:
        """The episodes of an update."""
        batch = self.sampler(network, update)
        if batch is not None:
            used = advantages(batch.rewards, batch.groups) != 0
            for one in batch.samples:
                self.sampled += len(one.ids) - one.target_start
                self.read += self.epochs * len(one.ids) * bool(used[one.episode])
        return batch


def reinforced(
    name: str,
    model: Path,
    levels: LevelSet,
    interactions: int,
    setting: Setting,
    out: Path,
    rng: Generator,
) -> tuple[Path, dict[str, Json]]:
    """A model trained by GRPO with a budget a level.

    Returns:
        Its folder, and what the training cost.
    """
    folder, done = out / name, out / name / "grpo.json"
    with alone(folder):
        if not done.exists():
            network: Any = load(model)
            began = time.process_time()
            budget = GroupBudget(
                levels, interactions, rng,
                group=setting.group, tasks=GRPO_LEVELS, temperature=setting.temperature,
            )  # fmt: skip
            config = GrpoConfig(
                lr=setting.lr, temperature=setting.temperature, epochs=setting.epochs,
                clip=setting.clip, entropy=setting.entropy,
            )  # fmt: skip
            counted = CountedTokens(budget.sample, setting.epochs)
            taken = grpo(network, counted, config)
            network.save_pretrained(str(folder))
            seconds = round(time.process_time() - began, 1)
            costs = {
                "steps": taken, "interactions": budget.spent, "cpu_seconds": seconds,
                "tokens_sampled": counted.sampled, "tokens_read": counted.read,
            }  # fmt: skip
            write_text(done, json.dumps(costs))
    found: dict[str, Json] = json.loads(done.read_text("utf-8"))
    return folder, found
