"""Budget, Meter and the prefix index against their definitions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leafe_gym.budget import (
    UNITS,
    Budget,
    Meter,
    PrefixIndex,
    Spend,
    chatml,
    estimate_tokens,
)
from leafe_gym.errors import BudgetExceeded, UsageError
from leafe_gym.types import Message, Usage

NOTHING = Usage()


def chat(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "9", float("nan")])
def test_a_limit_is_a_positive_whole_number(unit: str, bad: Any) -> None:
    with pytest.raises(UsageError, match=rf"Budget {unit}=.*whole number >= 1"):
        Budget(**{unit: bad})


def test_a_budget_without_any_limit_names_the_units() -> None:
    with pytest.raises(UsageError, match="calls, tokens_total, tokens_uncached"):
        Budget(replay_cost=True)


def test_calls_are_steps_and_model_calls() -> None:
    meter = Meter(Budget(calls=6))
    meter.charge_act(chat("a"), "x", NOTHING, stepped=True)
    meter.charge_act(chat("a"), "x", NOTHING, stepped=False)
    meter.charge_reflect(chat("a"), "x", NOTHING)
    meter.charge_rollback(5)
    assert (meter.spent.steps, meter.spent.act_calls, meter.spent.reflect_calls) == (1, 2, 1)
    assert (meter.spent.rollbacks, meter.spent.rollback_calls) == (1, 0)
    assert meter.spent.calls == 4
    assert meter.fits(2)
    assert not meter.fits(3)


CHARGES: dict[str, Callable[[Meter], None]] = {
    "act": lambda meter: meter.charge_act(chat("b"), "y", NOTHING, stepped=True),
    "rollback": lambda meter: meter.charge_rollback(2),
    "reflect": lambda meter: meter.charge_reflect(chat("b"), "y", NOTHING),
}


@pytest.mark.parametrize("kind", CHARGES)
def test_a_charge_that_does_not_fit_changes_nothing(kind: str) -> None:
    limit = 1 if kind == "reflect" else 2
    meter = Meter(Budget(calls=limit, replay_cost=True))
    meter.charge_reflect(chat("a"), "x", NOTHING)
    before = meter.spent.as_dict()
    with pytest.raises(BudgetExceeded, match=f"budget calls={limit} does not hold") as caught:
        CHARGES[kind](meter)
    error = caught.value
    assert (error.unit, error.limit, error.wanted) == ("calls", limit, limit + 1)
    assert meter.spent.as_dict() == before


def test_replay_cost_charges_tau() -> None:
    meter = Meter(Budget(calls=10, replay_cost=True))
    assert meter.rollback_cost(7) == 7
    meter.charge_rollback(7)
    assert meter.spent.calls == meter.spent.rollback_calls == 7
    assert Meter(Budget(calls=10)).rollback_cost(7) == 0


@pytest.mark.parametrize("unit", ["tokens_total", "tokens_uncached"])
def test_the_call_that_crosses_a_token_limit_is_the_last(unit: str) -> None:
    limits: dict[str, Any] = {unit: 100}
    meter = Meter(Budget(**limits))
    meter.charge_reflect(chat("a"), "", Usage(prompt_tokens=98, completion_tokens=1))
    assert meter.fits(1)
    meter.charge_reflect(chat("b"), "", Usage(prompt_tokens=1000, completion_tokens=1000))
    assert not meter.fits(0)
    assert getattr(meter.spent, unit) >= 100


def test_an_empty_reply_uses_a_token_budget_up() -> None:
    meter = Meter(Budget(tokens_uncached=40))
    rounds = 0
    while meter.fits(1):
        rounds += 1
        assert rounds < 100, "the same empty exchange would go on for ever"
        meter.charge_act(chat("same"), "", NOTHING, stepped=False)


def test_spend_adds_up_and_survives_json() -> None:
    one = Spend(steps=1, act_calls=2, prompt_tokens=10, shared_tokens=4, dropped=1)
    two = Spend(reflect_calls=3, rollback_calls=5, completion_tokens=7, replayed_steps=2)
    both = one + two
    assert (both.calls, both.tokens_total, both.tokens_uncached) == (11, 17, 13)
    assert both.dropped == 1
    assert both.replayed_steps == 2
    data = both.as_dict()
    assert [data[unit] for unit in UNITS] == [11, 17, 13]
    assert Spend.from_dict(data) == both


def shared_with(key: Sequence[Any], earlier: list[Any]) -> int:
    """Longest prefix of `key` that some earlier key begins with."""
    lengths = range(len(key), -1, -1)
    return next((n for n in lengths if any(e[:n] == key[:n] for e in earlier)), 0)


@given(st.lists(st.text("ab", max_size=8).map(str.encode), max_size=30))
def test_prefix_index_equals_brute_force(keys: list[bytes]) -> None:
    index = PrefixIndex()
    for at, key in enumerate(keys):
        assert index.shared(key) == (shared_with(key, keys[:at]) if at else 0)
        index.add(key)


@given(st.lists(st.lists(st.integers(0, 2), max_size=6).map(tuple), max_size=30))
def test_prefix_index_takes_token_ids(keys: list[tuple[int, ...]]) -> None:
    index = PrefixIndex()
    for at, key in enumerate(keys):
        assert index.shared(key) == (shared_with(key, keys[:at]) if at else 0)
        index.add(key)


calls = st.lists(st.tuples(st.text("ab", max_size=6), st.text("ab\u00e9", max_size=4)), max_size=12)


@given(calls)
def test_uncached_by_bytes_equals_its_definition(made: list[tuple[str, str]]) -> None:
    meter = Meter(Budget(calls=10**6))
    earlier: list[bytes] = []
    total = shared = 0
    for prompt, reply in made:
        meter.charge_reflect(chat(prompt), reply, NOTHING)
        head = chatml(chat(prompt))
        tokens = estimate_tokens(head)
        total += tokens + max(1, estimate_tokens(reply.encode()))
        shared += tokens * shared_with(head, earlier) // len(head)
        earlier.append(head + reply.encode() + b"<|im_end|>\n")
    assert meter.spent.tokens_total == total
    assert meter.spent.tokens_uncached == total - shared
    assert meter.token_source == "bytes/4"


def tokenizer(messages: Sequence[Message], completion: str) -> tuple[list[int], int]:
    """One id per character of the last turn, 0 for where the assistant begins."""
    prompt = [ord(mark) for mark in messages[-1]["content"]] + [0]
    return prompt + [ord(mark) for mark in completion] + [1], len(prompt)


@given(calls)
def test_uncached_by_ids_equals_its_definition(made: list[tuple[str, str]]) -> None:
    meter = Meter(Budget(calls=10**6), tokenizer)
    earlier: list[list[int]] = []
    total = shared = 0
    for prompt, reply in made:
        meter.charge_act(chat(prompt), reply, NOTHING, stepped=False)
        ids, length = tokenizer(chat(prompt), reply)
        total += len(ids)
        shared += shared_with(ids[:length], earlier)
        earlier.append(ids)
    assert (meter.spent.tokens_total, meter.spent.shared_tokens) == (total, shared)
    assert meter.token_source == "tokenizer"


def test_server_counts_scale_the_shared_bytes() -> None:
    meter = Meter(Budget(calls=9))
    usage = Usage(prompt_tokens=50, completion_tokens=3)
    meter.charge_reflect(chat("hello"), "yes", usage)
    meter.charge_reflect(chat("hello"), "no", usage)
    assert meter.spent.tokens_total == 106
    assert meter.spent.tokens_uncached == 56, "the second prompt is shared as a whole"
    meter.charge_reflect(chat("help"), "no", usage)
    head = chatml(chat("help"))
    common = head.index(b"hel") + 3
    assert meter.spent.shared_tokens == 50 + 50 * common // len(head)
    assert meter.token_source == "server, prefixes by bytes"


def test_a_conversation_pays_for_its_new_turns_only() -> None:
    grown: list[Message] = chat("question")
    meter = Meter(Budget(calls=9))
    meter.charge_reflect(grown, "answer", NOTHING)
    first = meter.spent.tokens_uncached
    grown = [*grown, {"role": "assistant", "content": "answer"}, *chat("and now")]
    meter.charge_reflect(grown, "x", NOTHING)
    new = len(chatml(grown)) - len(chatml(chat("question"))) - len("answer<|im_end|>\n")
    assert meter.spent.tokens_uncached - first <= -(-new // 4) + 2
