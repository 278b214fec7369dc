"""How each method spends its budget and becomes a model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from leafe_gym.agents.agent import Agent, IndependentSamplingAgent, ReflectiveTreeAgent
from leafe_gym.budget import Budget
from leafe_gym.distill.collate import Layout
from leafe_gym.distill.grpo import Batch, Sample, grpo
from leafe_gym.distill.loss import weighted_loss
from leafe_gym.distill.records import Encoded
from leafe_gym.engines.explore import explore
from leafe_gym.envs.sokoban.rules import ACTIONS
from leafe_gym.evals.reproduce.levels import Levels
from leafe_gym.evals.reproduce.rows import alternatives, drawn, run_rows
from leafe_gym.evals.reproduce.setting import EVERY, TREE, Scale
from leafe_gym.seeds import derive_rng, derive_seed
from leafe_gym.tiny.corpus import act_prompts
from leafe_gym.tiny.policy import TinyPolicy
from leafe_gym.tiny.pretrain import HORIZON
from leafe_gym.tiny.words import END, vocabulary
from leafe_gym.types import Json

RANDOM_TIPS = tuple(
    (owner, f"not {bad} but {good}")
    for owner in ("a", "b")
    for bad in ACTIONS
    for good in ACTIONS
    if bad != good
)
"""Donors of a tree whose tips say nothing."""


@dataclass(slots=True)
class Stage:
    """One base on its training levels.

    Attributes:
        base: the model all begin from; never changed.
        train: training levels.
        scale: how much is run.
        seed: of everything drawn here.
        folder: for run folders.
        notes: figures about the methods; added to.
    """

    base: Any
    train: Levels
    scale: Scale
    seed: int
    folder: Path
    notes: dict[str, Json]

    def collect(self, name: str, network: Any, factor: int = 1) -> dict[str, list[Encoded]]:
        """Rows of a run with one sampler at `factor` times the budget."""
        policy = TinyPolicy(network, name)
        agents: dict[str, Callable[[], Agent]] = {
            "is": lambda: IndependentSamplingAgent(policy, **EVERY),
            "tree": lambda: ReflectiveTreeAgent(policy, **EVERY, **TREE),
            "random": lambda: ReflectiveTreeAgent(
                policy, tau="random", tip="swapped", donors=RANDOM_TIPS, **EVERY, **TREE
            ),
        }
        sampler = name.partition("-")[0]
        folder = self.folder / name
        with explore(
            agents[sampler](),
            self.train.tasks,
            budget=Budget(calls=factor * self.scale.train_calls),
            out=folder,
            concurrency=128,
            seed=self.seed,
            stop="budget",
        ) as run:
            trees = list(run.trees())
            self.notes[name] = {
                "solved": sum(tree.solved for tree in trees) / len(trees),
                "calls": sum(tree.spent.calls for tree in trees),
            }
        rows = run_rows(folder)
        self.notes[name] |= {kind: len(found) for kind, found in rows.items()}
        return rows

    def sft(
        self, name: str, network: Any, *parts: tuple[Sequence[Encoded], int], steps: int = 0
    ) -> Any:
        """A copy of `network` trained on `parts`: rows, and how many of them each step sees."""
        model = copy.deepcopy(network)
        steps = steps or self.scale.steps
        rng = derive_rng(self.seed, name)
        if not any(len(rows) for rows, _ in parts):
            return model
        order = [drawn(rows, steps * share, rng) for rows, share in parts if len(rows)]
        shares = [share for rows, share in parts if len(rows)]
        finetune(model, order, shares, lr=self.scale.lr)
        return model

    def grpo(self, network: Any, run: int, factor: int = 1) -> Any:
        """A copy of `network` trained by GRPO at `factor` times the budget."""
        model = copy.deepcopy(network)
        scale, graph = self.scale, self.train.graph
        rng = derive_rng(self.seed, "grpo", run)
        left = np.full(len(graph.starts), factor * scale.train_calls)
        most = 2 * HORIZON * scale.group
        deck: list[int] = []

        def sample(current: Any, update: int) -> Batch | None:
            nonlocal deck
            deck = deck or rng.permutation(np.flatnonzero(left >= most)).tolist()
            if not deck:
                return None
            levels = np.array(deck[: scale.grpo_tasks])
            del deck[: scale.grpo_tasks]
            groups = np.repeat(levels, scale.group)
            episodes = self.train.chain(current).sample(graph.starts[groups], rng)
            np.subtract.at(left, groups, episodes.calls)
            return Batch(
                samples=_samples(self.train, episodes.states, episodes.actions),
                rewards=episodes.won.astype(np.float64),
                groups=groups,
            )

        taken = grpo(model, sample, lr=scale.grpo_lr)
        spent = factor * scale.train_calls * len(left) - int(left.sum())
        self.notes[f"grpo-{factor}x-{run}"] = {"updates": taken, "calls": spent}
        return model

    def early(self, network: Any) -> Any:
        """Early Experience: predict what alternatives lead to, then imitate."""
        rng = derive_rng(self.seed, "early")
        predict, imitate = alternatives(self.train, network, self.scale.train_calls, rng)
        self.notes["early"] = {"predict": len(predict), "imitate": len(imitate)}
        batch = self.scale.batch
        world = self.sft("early-world", network, (predict, batch), steps=self.scale.steps // 2)
        return self.sft("early", world, (imitate, batch))


def finetune(
    model: Any, order: Sequence[Sequence[Encoded]], shares: Sequence[int], *, lr: float
) -> None:
    """Train in place; step `n` sees the next `shares[i]` rows of each `order[i]`."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)
    steps = len(order[0]) // shares[0]
    model.train()
    for step in range(steps):
        rows = [
            row
            for rows, share in zip(order, shares, strict=True)
            for row in rows[step * share : (step + 1) * share]
        ]
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1.0, (step + 1) / 10) * min(1.0, 2 * (steps - step) / steps)
        optimizer.zero_grad(set_to_none=True)
        loss_of(model, rows).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()


def loss_of(model: Any, rows: Sequence[Encoded]) -> torch.Tensor:
    """`L_cf + L_reh` of one batch, as `distill.train` computes it."""
    (micro,) = Layout(micro_batch=len(rows), keep=False).split(rows)
    logits = model(
        input_ids=micro["input_ids"],
        attention_mask=micro["attention_mask"],
        position_ids=micro["position_ids"],
        use_cache=False,
    ).logits
    picked = logits.flatten(0, 1)[micro["at"]]
    return weighted_loss(picked, micro["labels"], micro["shares"]).total


def _samples(levels: Levels, states: Any, actions: Any) -> list[Sample]:
    words = vocabulary()
    episode, step = np.nonzero((actions >= 0) & (actions < 4))
    steps = np.array([words[f"s{number}"] for number in range(HORIZON)])
    prompts = act_prompts(levels.rows[states[episode, step]], steps[step]).tolist()
    names = [words[action] for action in ACTIONS]
    return [
        Sample(
            ids=(*prompt, names[action], words[END]), target_start=len(prompt), episode=int(number)
        )
        for prompt, action, number in zip(
            prompts, actions[episode, step].tolist(), episode.tolist(), strict=True
        )
    ]


def seed_of(seed: int, *what: str) -> int:
    """A sampling seed of a part of a reproduction."""
    return derive_seed(seed, *what)
