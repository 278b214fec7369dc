"""GRPO, the paper's reinforcement-learning baseline, in a minimal form.

Rollouts of one task form a group; an episode's advantage is its reward against the group's, and it
weighs the log-likelihood of every action token of the episode: `(r - mean r) / (std r + 1e-6)`.
Each batch is used for one step, so it is on-policy and needs no ratio, clip or reference model.

Where to sample is the caller's: this module knows no environment. For models that need several
machines use verl (its `algorithm.adv_estimator=grpo`; `examples/grpo_with_verl.py`); what it
computes is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from leafe_gym.errors import TrainingDiverged


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplySample:
    """One reply of one episode.

    Attributes:
        ids: prompt and reply.
        target_start: index of the first token of the reply.
        episode: which episode of its batch it belongs to.
    """

    ids: tuple[int, ...]
    target_start: int
    episode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeBatch:
    """Episodes of some tasks.

    Attributes:
        samples: all their replies.
        rewards: of each episode; [episodes].
        groups: the task of each episode; [episodes].
    """

    samples: Sequence[ReplySample]
    rewards: NDArray[np.float64]
    groups: NDArray[np.int64]


EpisodeSampler = Callable[[Any, int], EpisodeBatch | None]
"""`f(network, update)`: new episodes of the network as it is now; None when the budget is used."""


def advantages(rewards: NDArray[np.float64], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """Group-relative advantages (Shao et al. 2024, DeepSeekMath, eq. 3); [episodes].

    Example:
        >>> advantages(np.array([1.0, 0.0, 0.0, 0.0]), np.array([0, 0, 1, 1])).round(3).tolist()
        [1.0, -1.0, 0.0, 0.0]
    """
    out = np.zeros_like(rewards)
    for group in np.unique(groups):
        own = groups == group
        out[own] = (rewards[own] - rewards[own].mean()) / (rewards[own].std() + 1e-6)
    return out


def grpo(
    network: Any,
    sampler: EpisodeSampler,
    *,
    lr: float,
    max_grad_norm: float = 1.0,
    progress: Callable[[int, float], None] | None = None,
) -> int:
    """Train `network` in place.

    Args:
        network: a causal language model.
        sampler: gives the episodes of each update, until there are no more. Without a
            group of mixed rewards no step is taken.
        lr: AdamW's learning rate, constant.
        max_grad_norm: gradients are clipped to it.
        progress: called with (update, mean reward).

    Returns:
        Optimiser steps taken.

    Raises:
        TrainingDiverged: if the loss is no longer finite.
    """
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=0.0)
    taken = 0
    for update in count():
        network.eval()
        batch = sampler(network, update)
        if batch is None:
            break
        network.train()
        weights = advantages(batch.rewards, batch.groups)
        if progress is not None:
            progress(update + 1, float(batch.rewards.mean()))
        if not weights.any():
            continue
        loss = policy_loss(network, batch.samples, weights)
        if not torch.isfinite(loss):
            raise TrainingDiverged(
                f"update {update + 1}: the loss is {loss.item()}; lower lr={lr}",
                step=update + 1,
                checkpoint=None,
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), max_grad_norm)
        optimizer.step()
        taken += 1
    return taken


def policy_loss(
    network: Any, samples: Sequence[ReplySample], weights: NDArray[np.float64]
) -> torch.Tensor:
    """Mean over reply tokens of -advantage x log-likelihood.

    Args:
        network: a causal language model.
        samples: replies.
        weights: the advantage of each episode; [episodes].
    """
    used = [sample for sample in samples if weights[sample.episode]]
    time = max(len(sample.ids) for sample in used)
    ids = torch.zeros((len(used), time), dtype=torch.long)
    labels = torch.full_like(ids, -100)
    scale = torch.zeros((len(used), time))
    for row, sample in enumerate(used):
        # Padding stands on the right, behind everything a causal model reads.
        ids[row, : len(sample.ids)] = torch.tensor(sample.ids)
        span = slice(sample.target_start - 1, len(sample.ids) - 1)
        labels[row, span] = torch.tensor(sample.ids[sample.target_start :])
        scale[row, span] = float(weights[sample.episode])
    ids, labels, scale = (part.to(network.device) for part in (ids, labels, scale))
    logits = network(input_ids=ids, use_cache=False).logits
    loss = cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return (loss * scale.flatten()).sum() / (labels != -100).sum()
