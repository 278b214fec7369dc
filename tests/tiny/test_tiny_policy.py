"""Replies depend on prompt and seed and on nothing else."""

from __future__ import annotations

import asyncio
import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leafe_gym.errors import PolicyError, UsageError
from leafe_gym.policies.base import policy
from leafe_gym.prompts.tiny import ACTIONS
from leafe_gym.tiny.policy import TinyPolicy
from leafe_gym.tiny.words import vocabulary
from leafe_gym.types import Completion, Message, Sampling

ROWS = "@$.- ---- -#-- ----"
ACT = [f"s{step} {ROWS}" for step in range(3)] + [f"tip s1 not up but left s1 {ROWS}"]
BACK = " ".join(f"s{step} {ROWS} up" for step in range(6)) + f" s6 {ROWS} failed"
PROMPTS = [
    *ACT,
    BACK,
    BACK.replace("up", "left"),
    BACK.replace("s6", "s5 ---- ---- ---- --@- up s6"),
]


def turn(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


def ask(model: TinyPolicy, requests: list[tuple[int, int]], temperature: float) -> list[Completion]:
    async def go() -> list[Completion]:
        return await asyncio.gather(
            *(
                model.complete(
                    turn(PROMPTS[which]),
                    Sampling(seed=seed, temperature=temperature, max_tokens=16),
                )
                for which, seed in requests
            )
        )

    return asyncio.run(go())


MODEL = policy("tiny")
ALONE: dict[tuple[int, int], str] = {}


@settings(max_examples=15)
@given(
    st.lists(
        st.tuples(st.integers(0, len(PROMPTS) - 1), st.integers(0, 5)), min_size=1, max_size=12
    )
)
def test_batching_changes_nothing(requests: list[tuple[int, int]]) -> None:
    together = ask(MODEL, requests, 1.0)  # type: ignore[arg-type]
    for request, reply in zip(requests, together, strict=True):
        if request not in ALONE:
            ALONE[request] = ask(policy("tiny"), [request], 1.0)[0].text  # type: ignore[arg-type]
        assert reply.text == ALONE[request]


def test_temperature_zero_ignores_the_seed() -> None:
    replies = {c.text for c in ask(MODEL, [(4, seed) for seed in range(8)], 0.0)}  # type: ignore[arg-type]
    assert len(replies) == 1


def test_seeds_differ() -> None:
    replies = {c.text for c in ask(MODEL, [(0, seed) for seed in range(64)], 1.0)}  # type: ignore[arg-type]
    assert len(replies) > 1


def test_usage_and_cut() -> None:
    async def go() -> Completion:
        return await MODEL.complete(turn(BACK), Sampling(max_tokens=3))

    reply = asyncio.run(go())
    assert reply.finish_reason == "length"
    assert reply.usage.completion_tokens == 3
    assert reply.usage.prompt_tokens == len(BACK.split()) + 2


def test_unknown_words_are_refused() -> None:
    with pytest.raises(PolicyError, match="4x4"):
        asyncio.run(MODEL.complete(turn("hello"), Sampling()))
    with pytest.raises(UsageError, match="blind"):
        policy("tiny", kind="deaf")


def test_cancelled_request_does_not_hurt_the_others() -> None:
    async def go() -> Completion:
        first = asyncio.create_task(MODEL.complete(turn(ACT[0]), Sampling(seed=1)))
        second = asyncio.create_task(MODEL.complete(turn(ACT[1]), Sampling(seed=1)))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert asyncio.run(go()).text == ask(MODEL, [(1, 1)], 1.0)[0].text  # type: ignore[arg-type]


def test_chances_are_those_of_whole_replies() -> None:
    network = copy.deepcopy(MODEL.network)  # type: ignore[attr-defined]
    with torch.no_grad():
        for weights in network.parameters():
            weights += 0.05 * torch.randn(weights.shape, generator=torch.Generator().manual_seed(1))
    model = TinyPolicy(network)
    prompt = [vocabulary()[word] for word in ["<user>", *ACT[1].split(), "<assistant>"]]
    found = model.chances(np.array([prompt, prompt]))
    for column, action in enumerate(ACTIONS):
        word, end = vocabulary()[action], vocabulary()["<end>"]
        expected = model.next_word(np.array([prompt]))[0, word]
        expected *= model.next_word(np.array([[*prompt, word]]))[0, end]
        assert found[:, column] == pytest.approx([expected] * 2, rel=1e-4)
