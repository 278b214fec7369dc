"""Replies with held prefixes equal those that read every prompt from its beginning."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import leafe_gym as lg
from leafe_gym.policies.prefix_cache import KeyValues, PrefixCache
from leafe_gym.policies.transformers import TransformersPolicy

ROWS = ("----", "-@$.", "--.-", "-$--", "#-@-", "-#-.", "*--@", "@---")


def turn(random_: random.Random, words: int) -> lg.Message:
    text = " ".join(random_.choice(ROWS) for _ in range(words))
    return {"role": "user", "content": f"s0 {text}"}


async def grow(policy: TransformersPolicy, seed: int, batches: int) -> list[lg.Completion]:
    """A random tree of chats: each continues an earlier one after its reply, or begins anew."""
    random_ = random.Random(seed)
    chats: list[list[lg.Message]] = []
    found: list[lg.Completion] = []
    for _ in range(batches):
        fresh: list[list[lg.Message]] = []
        for _ in range(random_.choice((1, 1, 2, 5))):
            start = list(random_.choice([[], *chats]))
            chat = [*start[: 2 * random_.randint(0, len(start) // 2)]]
            fresh.append([*chat, turn(random_, random_.randint(1, 9))])
        fresh += [fresh[0]] * random_.randint(0, 2)
        greedy = random_.random() < 0.7
        sampling = [
            lg.Sampling(
                temperature=0.0 if greedy else 0.8, max_tokens=random_.randint(1, 7), seed=at
            )
            for at in range(len(fresh))
        ]
        calls = (policy.complete(chat, one) for chat, one in zip(fresh, sampling, strict=True))
        replies = await asyncio.gather(*calls)
        found += replies
        for chat, reply in zip(fresh, replies, strict=True):
            chats.append([*chat, {"role": "assistant", "content": reply.text}])
    return found


@pytest.mark.parametrize("gib", [1.0, 2e-5])
def test_the_same_replies_over_random_trees(
    servable: Path, gib: float, counts: Callable[[int, int], int]
) -> None:
    whole = TransformersPolicy.load(servable, device="cpu", prefix_cache_gib=0)
    cached = TransformersPolicy.load(servable, device="cpu", prefix_cache_gib=gib)
    for seed in range(counts(3, 60)):
        wanted = asyncio.run(grow(whole, seed, 8))
        assert asyncio.run(grow(cached, seed, 8)) == wanted
    read, saved = cached.prefix_cache_hits
    assert whole.prefix_cache_hits == (read, 0)
    held = cached._decoder.held
    assert held is not None
    assert 0 < held.nbytes <= held.limit
    assert saved > (0.3 if gib == 1.0 else 0.0) * read


def test_what_is_read_of_a_chat_that_grows(servable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = TransformersPolicy.load(servable, device="cpu")
    forward = policy.network.forward
    read: list[int] = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        read.append(kwargs["input_ids"].numel())
        return forward(*args, **kwargs)

    monkeypatch.setattr(policy.network, "forward", counted)
    chat: list[lg.Message] = [turn(random.Random(1), 60)]
    sampling = lg.Sampling(temperature=0, max_tokens=1)
    asyncio.run(policy.complete(chat, sampling))
    first = policy.count_tokens(chat)
    assert read == [1, first]  # the first pass asks what the model holds
    read.clear()
    asyncio.run(policy.complete(chat, sampling))
    assert read == [1]
    read.clear()
    chat += [{"role": "assistant", "content": "up"}, turn(random.Random(2), 3)]
    asyncio.run(policy.complete(chat, sampling))
    assert len(read) == 1
    assert read[0] <= policy.count_tokens(chat) - first + 2


def test_models_that_do_not_keep_all_keys_are_read_as_a_whole() -> None:
    from transformers import MistralConfig, MistralForCausalLM

    from leafe_gym.tiny.words import make_tokenizer

    config = MistralConfig(
        vocab_size=600, hidden_size=32, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, sliding_window=8, eos_token_id=3,
    )  # fmt: skip
    network = MistralForCausalLM(config)
    cached = TransformersPolicy(network, make_tokenizer())
    whole = TransformersPolicy(network, make_tokenizer(), prefix_cache_gib=0)
    wanted = asyncio.run(grow(whole, 4, 5))
    assert asyncio.run(grow(cached, 4, 5)) == wanted
    assert cached.prefix_cache_hits[1] == 0


def states(tokens: tuple[int, ...]) -> Callable[[int, int], KeyValues]:
    """Keys that tell the whole prefix they belong to; [1, tokens, 1] in two layers."""
    sums = torch.tensor([hash(tokens[: at + 1]) % 9973 for at in range(len(tokens))]).float()
    whole = sums[None, :, None]
    return lambda a, b: [(whole[:, a:b], -whole[:, a:b])] * 2


@settings(max_examples=60)
@given(
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12).map(tuple), max_size=30),
    st.integers(1, 60),
)
def test_a_held_prefix_is_that_of_the_sequence(
    sequences: list[tuple[int, ...]], tokens_held: int
) -> None:
    each = sum(part.nbytes for layer in states((1,))(0, 1) for part in layer)
    cache = PrefixCache(each * tokens_held)
    for at, sequence in enumerate(sequences):
        cache.insert(sequence, states(sequence))
        assert cache.nbytes <= cache.limit
        for asked in (*sequences[: at + 1], (0, 1, 2, 0)):
            length = cache.match(asked)
            for found, wanted in zip(cache.fetch(asked), states(asked)(0, length), strict=False):
                assert torch.equal(found[0], wanted[0])
                assert torch.equal(found[1], wanted[1])
        if len(sequence) <= tokens_held:
            assert cache.match(sequence) == len(sequence), "the newest is dropped last"
    cache.clear()
    assert cache.nbytes == 0
    assert cache.fetch((0, 1)) == []


def test_the_least_recently_used_is_dropped_first() -> None:
    each = sum(part.nbytes for layer in states((1,))(0, 1) for part in layer)
    cache = PrefixCache(each * 6)
    for sequence in ((1, 1, 1), (2, 2, 2)):
        cache.insert(sequence, states(sequence))
    cache.fetch((1, 1, 1))
    cache.insert((3, 3), states((3, 3)))
    assert [cache.match((n, n, n)) for n in (1, 2, 3)] == [3, 0, 2]
