"""GRPO: advantages, gradient by hand, and a game it learns."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from leafe_gym.errors import TrainingDiverged
from leafe_gym.evals.reproduce.grpo import (
    EpisodeBatch,
    GrpoConfig,
    ReplySample,
    ReplyTokens,
    advantages,
    grpo,
    policy_loss,
)
from leafe_gym.tiny.pretrain import Recipe, make_model

CONFIG = GrpoConfig(lr=1e-3)


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
    found = ReplyTokens.of(samples, weights, torch.device("cpu"))
    now = torch.zeros(tokens)  # as if every token had been sampled with probability 1
    likely = policy_loss(network, found, CONFIG)[1].detach()
    assert float(-(likely * found.advantage).mean()) == pytest.approx(expected / tokens, abs=1e-5)
    loss, _ = policy_loss(network, found, CONFIG, now)
    assert loss.item() == pytest.approx(float(-(likely.exp() * found.advantage).mean()), abs=1e-6)


def gradients(network: torch.nn.Module, loss: torch.Tensor) -> torch.Tensor:
    parts = torch.autograd.grad(loss, list(network.parameters()), allow_unused=True)
    return torch.cat([part.flatten() for part in parts if part is not None])


def test_the_first_step_on_a_batch_follows_the_log_likelihood() -> None:
    network = model()
    one = bandit(network, 0)
    assert one is not None
    tokens = ReplyTokens.of(one.samples, advantages(one.rewards, one.groups), torch.device("cpu"))
    for config in (CONFIG, GrpoConfig(lr=1e-3, clip=(0.2, 0.2))):
        loss, _ = policy_loss(network, tokens, config)
        plain = -(policy_loss(network, tokens, config)[1] * tokens.advantage).mean()
        assert torch.allclose(gradients(network, loss), gradients(network, plain), atol=1e-6)


def test_a_clipped_token_has_no_gradient() -> None:
    network = model()
    samples = [ReplySample(ids=(1, 20, 4), target_start=2, episode=0)]
    for advantage, moved, cut in ((1.0, 1.5, True), (1.0, 0.5, False), (-1.0, 0.5, True)):
        tokens = ReplyTokens.of(samples, np.array([advantage]), torch.device("cpu"))
        _, likely = policy_loss(network, tokens, CONFIG)
        before = likely.detach() - np.log(moved)
        loss, _ = policy_loss(network, tokens, GrpoConfig(lr=1.0, clip=(0.2, 0.28)), before)
        assert bool(gradients(network, loss).abs().max() < 1e-9) == cut


def test_temperature_and_entropy() -> None:
    network = model()
    one = bandit(network, 0)
    assert one is not None
    tokens = ReplyTokens.of(one.samples, advantages(one.rewards, one.groups), torch.device("cpu"))
    hot = GrpoConfig(lr=1.0, temperature=2.0)
    logits = network(input_ids=tokens.ids).logits.flatten(0, 1)[tokens.at]
    every = (logits / 2).log_softmax(-1)
    loss, likely = policy_loss(network, tokens, hot)
    assert torch.allclose(likely, every.gather(1, tokens.labels[:, None])[:, 0], atol=1e-5)
    bonus, _ = policy_loss(network, tokens, GrpoConfig(lr=1.0, temperature=2.0, entropy=0.1))
    entropy = -(every.exp() * every).sum(-1).mean()
    assert (loss - bonus).item() == pytest.approx(0.1 * entropy.item(), abs=1e-5)


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
    taken = grpo(
        network, bandit, GrpoConfig(lr=3e-3), progress=lambda _, reward: seen.append(reward)
    )
    assert 0 < taken <= 40
    assert seen[0] < 0.6
    assert np.mean(seen[-5:]) > 0.9


def test_a_batch_can_be_used_more_than_once() -> None:
    network = model()
    config = GrpoConfig(lr=3e-3, epochs=3, clip=(0.2, 0.28), entropy=1e-3)
    seen: list[float] = []
    taken = grpo(network, bandit, config, progress=lambda _, reward: seen.append(reward))
    assert taken > 0
    assert taken % 3 == 0
    assert np.mean(seen[-5:]) > 0.9


def test_nothing_to_learn_changes_nothing() -> None:
    network = model()
    before = copy.deepcopy(network.state_dict())
    alike = bandit(network, 0)
    assert alike is not None
    batch = EpisodeBatch(samples=alike.samples, rewards=np.ones(16), groups=alike.groups)
    assert grpo(network, lambda _, update: batch if update < 3 else None, CONFIG) == 0
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_divergence_is_said() -> None:
    network = model()
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    one = bandit(model(), 0)
    assert one is not None
    with pytest.raises(TrainingDiverged, match="lower lr"):
        grpo(network, lambda *_: one, CONFIG)
