"""Whatever a model answers: a decision, or `BadReply`, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from leafe_gym.errors import BadReply
from leafe_gym.prompts.chat import ChatPrompts
from leafe_gym.types import Completion

PROMPTS = ChatPrompts()

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
near_json = st.builds(
    lambda step, text, more: json.dumps({"step": step, "experience": text} | more),
    st.integers(-3, 15) | json_values,
    st.text(min_size=1, max_size=30) | json_values,
    st.just({}) | st.dictionaries(st.sampled_from(["step", "experience", "x"]), json_values),
)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    text: str = draw(near_json)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        cut = draw(st.integers(0, 3))
        put = draw(st.sampled_from([*'{}[]",:\\\n 019-', "'", "```", "null", "true"]))
        text = text[:at] + put + text[at + cut :]
    return text


surrogates = st.text(st.characters(codec=None), max_size=40)
replies = mutated() | st.text(max_size=200) | surrogates | st.text('{}[]",:\\ \n`Ax1', max_size=80)
finishes = st.sampled_from(["stop", "stop", "stop", "length"])


def test_any_reply_is_read_or_refused(counts: Callable[[int, int], int]) -> None:
    read = 0

    @settings(max_examples=counts(200, 5000))
    @given(replies, finishes, st.integers(1, 12))
    def check(text: str, finish: Any, actions: int) -> None:
        nonlocal read
        completion = Completion(text=text, finish_reason=finish)
        try:
            verdict = PROMPTS.parse_reflection(completion, actions)
        except BadReply:
            return
        read += 1
        assert finish == "stop"
        assert verdict.step is None or (
            type(verdict.step) is int and 0 <= verdict.step < actions and verdict.text.strip()
        )

    check()
    assert read, "nothing was ever read: the check is empty"


def test_any_acting_reply_is_read_or_refused(counts: Callable[[int, int], int]) -> None:
    read = 0
    lines = st.text(max_size=40) | st.text(max_size=20).map(lambda text: f"Action: {text}")
    acting = st.lists(lines, max_size=3).map("\n".join) | surrogates | replies

    @settings(max_examples=counts(200, 5000))
    @given(acting, finishes)
    def check(text: str, finish: Any) -> None:
        nonlocal read
        try:
            action = PROMPTS.parse_action(Completion(text=text, finish_reason=finish))
        except BadReply:
            return
        read += 1
        assert finish == "stop"
        assert action == action.strip() != ""
        assert action in text

    check()
    assert read, "nothing was ever read: the check is empty"
