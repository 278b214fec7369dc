"""Budget, token counts and the prefix trie against their definitions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leafe_gym.budget import (
    UNITS,
    Budget,
    Limits,
    Spend,
    TokenMeter,
    as_tokens,
    measure,
)
from leafe_gym.errors import UsageError
from leafe_gym.prefixes import PrefixTrie, chatml
from leafe_gym.types import Message, Usage

NOTHING = Usage()


def chat(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "9", float("nan")])
def test_a_limit_is_a_positive_whole_number(unit: str, bad: Any) -> None:
    with pytest.raises(UsageError, match=rf"Budget {unit}="):
        Budget(**{unit: bad})


def test_a_budget_without_any_limit_names_the_units() -> None:
    with pytest.raises(
        UsageError, match="interactions, model_calls, env_steps, tokens_total, tokens_uncached"
    ):
        Budget(replay_cost=True)


def test_interactions_are_steps_and_model_calls() -> None:
    spent = Spend(steps=1, act_calls=2, reflect_calls=1, rollback_steps=5)
    assert (spent.env_steps, spent.model_calls, spent.interactions) == (6, 3, 9)


@pytest.mark.parametrize(
    ("limits", "fits", "does_not"),
    [
        ({"interactions": 6}, {"model_calls": 1, "env_steps": 1}, {"model_calls": 3}),
        ({"model_calls": 4}, {"model_calls": 1, "env_steps": 99}, {"model_calls": 2}),
        ({"env_steps": 2}, {"model_calls": 99, "env_steps": 1}, {"env_steps": 2}),
    ],
)
def test_limits_hold_what_is_left(
    limits: dict[str, int], fits: dict[str, int], does_not: dict[str, int]
) -> None:
    spent = Spend(steps=1, act_calls=2, reflect_calls=1)
    assert Limits.of(Budget(**limits)).hold(spent, **fits)
    assert not Limits.of(Budget(**limits)).hold(spent, **does_not)
    left = Limits.of(Budget(**limits), spent)
    assert left.hold(Spend(), **fits), "what is left is counted from nothing"
    assert not left.hold(Spend(), **does_not)


@pytest.mark.parametrize("unit", ["tokens_total", "tokens_uncached"])
def test_the_call_that_crosses_a_token_limit_is_the_last(unit: str) -> None:
    limits = Limits.of(Budget(**{unit: 100}))
    assert limits.hold(Spend(prompt_tokens=98, completion_tokens=1), model_calls=1)
    assert not limits.hold(Spend(prompt_tokens=98, completion_tokens=2))
    shared = Spend(prompt_tokens=98, completion_tokens=2, shared_tokens=1)
    assert limits.hold(shared) == (unit == "tokens_uncached")


@given(st.text(max_size=9), st.integers(0, 9), st.booleans())
def test_every_call_costs_a_token(reply: str, reported: int, ids: bool) -> None:
    usage = Usage(completion_tokens=reported)
    assert measure(chat("same"), reply, usage, tokenizer if ids else None).completion_tokens >= 1


def test_spend_adds_up_and_survives_json() -> None:
    one = Spend(steps=1, act_calls=2, prompt_tokens=10, shared_tokens=4, dropped=1)
    two = Spend(reflect_calls=3, rollback_steps=5, completion_tokens=7, replayed_steps=2)
    both = one + two
    assert (both.interactions, both.tokens_total, both.tokens_uncached) == (11, 17, 13)
    assert both.dropped == 1
    assert both.replayed_steps == 2
    data = both.as_dict()
    assert [data[unit] for unit in UNITS] == [11, 5, 6, 17, 13]
    assert Spend.from_dict(data) == both


def shared_with(key: Sequence[Any], earlier: list[Any]) -> int:
    """Longest prefix of `key` that some earlier key begins with."""
    lengths = range(len(key), -1, -1)
    return next((n for n in lengths if any(e[:n] == key[:n] for e in earlier)), 0)


@given(st.lists(st.text("ab", max_size=8).map(str.encode), max_size=30))
def test_prefix_trie_equals_brute_force(keys: list[bytes]) -> None:
    trie = PrefixTrie()
    for at, key in enumerate(keys):
        assert trie.add(key) == (shared_with(key, keys[:at]) if at else 0)


@given(st.lists(st.lists(st.integers(0, 2), max_size=6).map(tuple), max_size=30))
def test_prefix_trie_takes_token_ids(keys: list[tuple[int, ...]]) -> None:
    trie = PrefixTrie()
    for at, key in enumerate(keys):
        assert trie.add(key) == (shared_with(key, keys[:at]) if at else 0)


class Ledger:
    """Spending of calls that are charged one after the other."""

    def __init__(self, tokenizer: Any = None) -> None:
        self.meter, self.spent = TokenMeter(tokenizer), Spend()

    def charge(self, chat: Sequence[Message], reply: str, usage: Usage = NOTHING) -> None:
        size = measure(chat, reply, usage, self.meter.tokenizer)
        self.spent.prompt_tokens += size.prompt_tokens
        self.spent.completion_tokens += size.completion_tokens
        self.spent.shared_tokens += self.meter.shared(size)


calls = st.lists(st.tuples(st.text("ab", max_size=6), st.text("ab\u00e9", max_size=4)), max_size=12)


@given(calls)
def test_uncached_by_bytes_equals_its_definition(made: list[tuple[str, str]]) -> None:
    meter = Ledger()
    earlier: list[bytes] = []
    total = shared = 0
    for prompt, reply in made:
        meter.charge(chat(prompt), reply)
        head = chatml(chat(prompt))
        tokens = as_tokens(len(head))
        total += tokens + max(1, as_tokens(len(reply.encode())))
        shared += tokens * shared_with(head, earlier) // len(head)
        earlier.append(head + reply.encode() + b"<|im_end|>\n")
    assert meter.spent.tokens_total == total
    assert meter.spent.tokens_uncached == total - shared
    assert meter.meter.source == "bytes/4"


def tokenizer(messages: Sequence[Message], completion: str) -> tuple[list[int], int]:
    """One id per character of the last turn, 0 for where the assistant begins."""
    prompt = [ord(mark) for mark in messages[-1]["content"]] + [0]
    return prompt + [ord(mark) for mark in completion] + [1], len(prompt)


@given(calls)
def test_uncached_by_ids_equals_its_definition(made: list[tuple[str, str]]) -> None:
    meter = Ledger(tokenizer)
    earlier: list[list[int]] = []
    total = shared = 0
    for prompt, reply in made:
        meter.charge(chat(prompt), reply)
        ids, length = tokenizer(chat(prompt), reply)
        total += len(ids)
        shared += shared_with(ids[:length], earlier)
        earlier.append(ids)
    assert (meter.spent.tokens_total, meter.spent.shared_tokens) == (total, shared)
    assert meter.meter.source == "tokenizer"


def test_server_counts_scale_the_shared_bytes() -> None:
    meter = Ledger()
    usage = Usage(prompt_tokens=50, completion_tokens=3)
    meter.charge(chat("hello"), "yes", usage)
    meter.charge(chat("hello"), "no", usage)
    assert meter.spent.tokens_total == 106
    assert meter.spent.tokens_uncached == 56, "the second prompt is shared as a whole"
    meter.charge(chat("help"), "no", usage)
    head = chatml(chat("help"))
    common = head.index(b"hel") + 3
    assert meter.spent.shared_tokens == 50 + 50 * common // len(head)
    assert meter.meter.source == "server, prefixes by bytes"


def test_a_conversation_pays_for_its_new_turns_only() -> None:
    grown: list[Message] = chat("question")
    meter = Ledger()
    meter.charge(grown, "answer")
    first = meter.spent.tokens_uncached
    grown = [*grown, {"role": "assistant", "content": "answer"}, *chat("and now")]
    meter.charge(grown, "x")
    new = len(chatml(grown)) - len(chatml(chat("question"))) - len("answer<|im_end|>\n")
    assert meter.spent.tokens_uncached - first <= -(-new // 4) + 2
