"""GRPO, the paper's reinforcement-learning baseline, in a minimal form.

Rollouts of one task form a group; an episode's advantage is its reward against the group's, and it
weighs the probability of every action token of the episode relative to that when it was sampled:
`(r - mean r) / (std r + 1e-6)`. By default each batch is used for one step, so that the ratio is 1
and nothing is clipped. There is no reference model.

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
from torch.nn.functional import log_softmax

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


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpoConfig:
    """How each batch of episodes is used.

    Attributes:
        lr: AdamW's learning rate, constant.
        temperature: at which the episodes were sampled; logits are divided by it.
        epochs: optimizer steps on each batch, all of its rows at once.
        clip: how far the ratio of probabilities may move down and up before a token's gradient is
            cut off, such as (0.2, 0.28); None for no limit.
        entropy: weight of the mean entropy of the tokens' distributions, in nats, as a bonus.
        max_grad_norm: gradients are clipped to it.
    """

    lr: float
    temperature: float = 1.0
    epochs: int = 1
    clip: tuple[float, float] | None = None
    entropy: float = 0.0
    max_grad_norm: float = 1.0


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
    config: GrpoConfig,
    progress: Callable[[int, float], None] | None = None,
) -> int:
    """Train `network` in place.

    Args:
        network: a causal language model.
        sampler: gives the episodes of each update, until there are no more. Without a
            group of mixed rewards no step is taken.
        config: how a batch is used.
        progress: called with (update, mean reward).

    Returns:
        Optimiser steps taken.

    Raises:
        TrainingDiverged: if the loss is no longer finite.
    """
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=0.0)
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
        tokens = ReplyTokens.of(batch.samples, weights, network.device)
        before: torch.Tensor | None = None
        for _ in range(config.epochs):
            loss, likely = policy_loss(network, tokens, config, before)
            if not torch.isfinite(loss):
                raise TrainingDiverged(
                    f"update {update + 1}: the loss is {loss.item()}; lower lr={config.lr}",
                    step=update + 1,
                    checkpoint=None,
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), config.max_grad_norm)
            optimizer.step()
            before = likely.detach() if before is None else before
            taken += 1
    return taken


@dataclass(frozen=True, slots=True)
class ReplyTokens:
    """Replies side by side, padded on the right, behind everything a causal model reads.

    Attributes:
        ids: [replies, time].
        at: places in the flattened logits that predict a reply token; [tokens].
        labels: [tokens].
        advantage: of the episode of each token; [tokens].
    """

    ids: torch.Tensor
    at: torch.Tensor
    labels: torch.Tensor
    advantage: torch.Tensor

    @classmethod
    def of(
        cls, samples: Sequence[ReplySample], weights: NDArray[np.float64], device: torch.device
    ) -> ReplyTokens:
        """The replies of episodes with an advantage other than 0.

        Args:
            samples: replies.
            weights: the advantage of each episode; [episodes].
            device: where to.
        """
        used = [sample for sample in samples if weights[sample.episode]]
        time = max(len(sample.ids) for sample in used)
        ids = torch.zeros((len(used), time), dtype=torch.long)
        at: list[int] = []
        labels: list[int] = []
        advantage: list[float] = []
        for row, sample in enumerate(used):
            ids[row, : len(sample.ids)] = torch.tensor(sample.ids)
            places = range(sample.target_start, len(sample.ids))
            at += [row * time + place - 1 for place in places]
            labels += sample.ids[sample.target_start :]
            advantage += [float(weights[sample.episode])] * len(places)
        parts = ids, torch.tensor(at), torch.tensor(labels), torch.tensor(advantage)
        return cls(*(part.to(device) for part in parts))


def policy_loss(
    network: Any, tokens: ReplyTokens, config: GrpoConfig, before: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean over reply tokens of -advantage x ratio, less the entropy bonus.

    Args:
        network: a causal language model.
        tokens: replies.
        config: see `GrpoConfig`.
        before: the tokens' log-probabilities when they were sampled; None if that is now.

    Returns:
        The loss, a scalar, and the tokens' log-probabilities; [tokens].
    """
    hidden = network(input_ids=tokens.ids, use_cache=False).logits.flatten(0, 1)[tokens.at]
    every = log_softmax(hidden / config.temperature, dim=-1)
    likely = every.gather(1, tokens.labels[:, None]).squeeze(1)
    ratio = (likely - (likely.detach() if before is None else before)).exp()
    gain = ratio * tokens.advantage
    if config.clip is not None:
        down, up = config.clip
        gain = torch.minimum(gain, ratio.clamp(1 - down, 1 + up) * tokens.advantage)
    loss = -gain.mean()
    if config.entropy:
        loss = loss + config.entropy * (every.exp() * every).sum(dim=-1).mean()
    return loss, likely
