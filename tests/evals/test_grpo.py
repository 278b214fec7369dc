"""GRPO: advantages, gradient by hand, and a game it learns."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from leafe_gym.errors import TrainingDiverged
from leafe_gym.evals.reproduce.grpo import EpisodeBatch, ReplySample, advantages, grpo, policy_loss
from leafe_gym.tiny.pretrain import Recipe, make_model


def model() -> torch.nn.Module:
    return make_model(Recipe(width=16, layers=1)).eval()  # type: ignore[no-any-return]


def test_advantages_are_the_groups_own() -> None:
    rewards = np.array([1.0, 0, 0, 0, 5, 5])
    groups = np.array([3, 3, 3, 3, 1, 1])
    found = advantages(rewards, groups)
    assert found[:4] == pytest.approx([3**0.5, *[-(3**-0.5)] * 3], abs=1e-4)
    assert found[4:].tolist() == [0, 0], "a group that is alike teaches nothing"


def test_loss_is_the_hand_formula_and_padding_free() -> None:
    network = model()
    samples = [
        ReplySample(ids=(1, 20, 21, 4, 3), target_start=3, episode=0),
        ReplySample(ids=(1, 22, 5, 3), target_start=2, episode=1),
        ReplySample(ids=(1, 9, 5, 3), target_start=2, episode=2),
    ]
    weights = np.array([2.0, -1.0, 0.0])
    expected, tokens = 0.0, 0
    for sample in samples[:2]:
        with torch.no_grad():
            logits = network(torch.tensor([sample.ids])).logits[0].log_softmax(-1)
        for at in range(sample.target_start, len(sample.ids)):
            expected -= weights[sample.episode] * float(logits[at - 1, sample.ids[at]])
            tokens += 1
    assert policy_loss(network, samples, weights).item() == pytest.approx(
        expected / tokens, abs=1e-5
    )


def bandit(network: torch.nn.Module, update: int) -> EpisodeBatch | None:
    """Word 4 wins; all else loses."""
    if update == 40:
        return None
    rng = np.random.default_rng(update)
    with torch.no_grad():
        chances = network(torch.tensor([[1, 20]])).logits[0, -1, 4:8].softmax(-1).double().numpy()
    picked = rng.choice(4, size=16, p=chances / chances.sum()) + 4
    return EpisodeBatch(
        samples=[
            ReplySample(ids=(1, 20, int(w)), target_start=2, episode=n)
            for n, w in enumerate(picked)
        ],
        rewards=(picked == 4).astype(np.float64),
        groups=np.zeros(16, dtype=np.int64),
    )


def test_it_learns_a_game() -> None:
    network = model()
    seen: list[float] = []
    taken = grpo(network, bandit, lr=3e-3, progress=lambda _, reward: seen.append(reward))
    assert 0 < taken <= 40
    assert seen[0] < 0.6
    assert np.mean(seen[-5:]) > 0.9


def test_nothing_to_learn_changes_nothing() -> None:
    network = model()
    before = copy.deepcopy(network.state_dict())
    alike = bandit(network, 0)
    assert alike is not None
    batch = EpisodeBatch(samples=alike.samples, rewards=np.ones(16), groups=alike.groups)
    assert grpo(network, lambda _, update: batch if update < 3 else None, lr=1.0) == 0
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_divergence_is_said() -> None:
    network = model()
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    one = bandit(model(), 0)
    assert one is not None
    with pytest.raises(TrainingDiverged, match="lower lr"):
        grpo(network, lambda *_: one, lr=1e-3)
