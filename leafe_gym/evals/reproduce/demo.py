"""The whole method in a minute: explore with the small model, train it, evaluate both again.

Levels are taken in the order of their seeds; none is selected by its outcome.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from leafe_gym.budget import Budget
from leafe_gym.distill.training.config import TrainConfig
from leafe_gym.distill.training.train import train
from leafe_gym.envs.tasks import tasks as list_tasks
from leafe_gym.errors import UsageError
from leafe_gym.evals.evaluate import evaluate
from leafe_gym.evals.reproduce.protocol import AGENT, ROLLOUTS
from leafe_gym.evals.reproduce.row_batches import drawn, run_rows
from leafe_gym.evals.samplers import make_agent
from leafe_gym.exploration.config import ExploreConfig
from leafe_gym.exploration.engine import explore
from leafe_gym.seeds import derive_rng
from leafe_gym.store.reader import RunReader
from leafe_gym.tiny.policy import SHIPPED, TinyPolicy
from leafe_gym.tiny.words import SMALL
from leafe_gym.tree import Tree
from leafe_gym.types import Task

BASE = SHIPPED / "blind"
INTERACTIONS = 200
STEPS = 120
BATCH = 64
LR = 5e-4

Tick = Callable[[Task, Tree | None], None]


@dataclass(frozen=True, slots=True)
class ExploredLevels:
    """Stage 1 on training levels.

    Attributes:
        folder: the run.
        levels: number of training levels.
        first_attempt: of them solved at their first attempt.
        solved: solved within the budget.
        example: the first level whose first attempt failed and that was won after a rollback.
    """

    folder: Path
    levels: int
    first_attempt: int
    solved: int
    example: Tree


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """Stage 2.

    Attributes:
        model: folder of the trained model.
        counterfactual: rows whose target is a revised action, without the experience in the prompt.
        rehearsal: rows of episodes that won.
        losses: of each optimizer step.
    """

    model: Path
    counterfactual: int
    rehearsal: int
    losses: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class RetriedLevels:
    """Held-out levels that the base failed, tried once more without any experience.

    Attributes:
        levels: held-out levels in all.
        failed: those the base failed at its first attempt.
        base: of them solved by another attempt of the base.
        trained: of them solved by an attempt of the trained model.
        pairs: of each failed level the base's first attempt and the trained model's.
    """

    levels: int
    failed: int
    base: int
    trained: int
    pairs: tuple[tuple[Tree, Tree], ...]


def levels(split: str, count: int) -> Sequence[Task]:
    """The first levels of a split, in rooms of the small model."""
    return list_tasks("leafe/Sokoban-v0", split=split, **SMALL.levels)[:count]


def stage1(
    tasks: Sequence[Task], folder: Path, seed: int, tick: Tick | None = None
) -> ExploredLevels:
    """Explore each level with a rollback tree.

    Raises:
        UsageError: if no level was won after a rollback.
    """
    torch.set_num_threads(1)  # at this size two threads are slower than one
    agent = make_agent("tree", TinyPolicy.load(BASE), AGENT)
    with explore(
        agent, tasks, budget=Budget(interactions=INTERACTIONS), out=folder, concurrency=64,
        config=ExploreConfig(seed=seed), progress=tick,
    ) as run:  # fmt: skip
        trees = list(run.trees())
    example = next((tree for tree in trees if _won_after_rollback(tree)), None)
    if example is None:
        raise UsageError(f"none of {len(trees)} levels was won after a rollback: use more levels")
    first_attempt = sum(tree.branches[0].won for tree in trees)
    return ExploredLevels(
        folder, len(trees), first_attempt, sum(tree.solved for tree in trees), example
    )


def _won_after_rollback(tree: Tree) -> bool:
    first = next((branch for branch in tree.branches if branch.won), None)
    return first is not None and first.parent == 0


def stage2(
    run: Path, folder: Path, seed: int, tick: Callable[[float], None] | None = None
) -> TrainedModel:
    """Train the base on the trees: half of each step revised actions, half rehearsal.

    Args:
        run: folder of the exploration.
        folder: of the training.
        seed: of the choice of rows.
        tick: called with the loss after each step.
    """
    rows = run_rows(run)
    rng = derive_rng(seed, "demo")
    batch = [row for part in rows.values() for row in drawn(part, STEPS * BATCH // 2, rng)]

    def report_loss(line: dict[str, float], _: int) -> None:
        if tick is not None:
            tick(line["loss"])

    result = train(
        batch, model=BASE, out=folder, progress=report_loss,
        config=TrainConfig(
            epochs=1, batch=BATCH, micro_batch=BATCH, lr=LR, schedule="linear", warmup=10,
            save_every=10 * STEPS, seed=seed,
        ),
    )  # fmt: skip
    lines = (folder / "metrics.jsonl").read_text("utf-8").splitlines()
    losses = tuple(float(json.loads(line)["loss"]) for line in lines)
    return TrainedModel(result.model, len(rows["counterfactual"]), len(rows["rehearsal"]), losses)


def try_again(
    tasks: Sequence[Task], model: Path, folder: Path, seed: int, tick: Tick | None = None
) -> RetriedLevels:
    """One attempt of the base at each level; at failed levels one more of the base and the model.

    The base's second attempt is the baseline: with other random numbers it solves some of them.
    """
    base, trained = TinyPolicy.load(BASE), TinyPolicy.load(model)

    def attempt(policy: TinyPolicy, some: Sequence[Task], name: str, at: int) -> list[Tree]:
        out = folder / name
        evaluate(policy, some, samples=1, seed=at, config=ROLLOUTS, out=out, progress=tick)
        with RunReader(out) as run:
            return list(run.trees())

    first = attempt(base, tasks, "base-first", seed)
    failed = [tree for tree in first if not tree.solved]
    some = [task for task, tree in zip(tasks, first, strict=True) if not tree.solved]
    if not some:
        return RetriedLevels(len(tasks), 0, 0, 0, ())
    second = attempt(base, some, "base-again", seed + 1)
    after = attempt(trained, some, "trained", seed + 1)
    return RetriedLevels(
        len(tasks),
        len(some),
        sum(tree.solved for tree in second),
        sum(tree.solved for tree in after),
        tuple(zip(failed, after, strict=True)),
    )
