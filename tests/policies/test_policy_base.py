"""Functions, objects and names as policies."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Sequence
from typing import Any

import pytest

import leafe_gym as lg
from leafe_gym.errors import PolicyError, UsageError
from leafe_gym.policies.base import FunctionPolicy, Policy, as_policy
from leafe_gym.types import Completion, Message, Sampling

CHAT: list[Message] = [{"role": "user", "content": "hi"}]
SAMPLING = Sampling(seed=7)


def plain(messages: Sequence[Message]) -> str:
    return f"{messages[-1]['content']} plain"


def sampled(messages: Sequence[Message], sampling: Sampling) -> Completion:
    return Completion(text=f"{messages[-1]['content']} {sampling.seed}", finish_reason="length")


async def waiting(messages: Sequence[Message]) -> str:
    await asyncio.sleep(0)
    return f"{messages[-1]['content']} waited"


async def waiting_sampled(messages: Sequence[Message], sampling: Sampling) -> str:
    await asyncio.sleep(0)
    return f"{messages[-1]['content']} waited {sampling.seed}"


class Plain:
    def __call__(self, messages: Sequence[Message]) -> str:
        return plain(messages)


class Waiting:
    async def __call__(self, messages: Sequence[Message], sampling: Sampling) -> str:
        return await waiting_sampled(messages, sampling)


class Whole:
    name = "whole"

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        return Completion(text="whole")


@pytest.mark.parametrize(
    ("source", "name", "text"),
    [
        (plain, "plain", "hi plain"),
        (waiting, "waiting", "hi waited"),
        (waiting_sampled, "waiting_sampled", "hi waited 7"),
        (Plain(), "Plain", "hi plain"),
        (Waiting(), "Waiting", "hi waited 7"),
        (functools.partial(waiting), "partial", "hi waited"),
        (lambda messages: waiting(messages), None, "hi waited"),
        (Whole(), "whole", "whole"),
    ],
)
async def test_whatever_answers_is_a_policy(source: Any, name: str | None, text: str) -> None:
    policy = lg.policy(source)
    assert isinstance(policy, Policy)
    assert name is None or policy.name.endswith(name)
    assert await policy.complete(CHAT, SAMPLING) == Completion(text=text)


async def test_a_completion_is_kept_as_it_is() -> None:
    given = await as_policy(sampled).complete(CHAT, SAMPLING)
    assert given == Completion(text="hi 7", finish_reason="length")


def test_a_policy_object_is_used_as_it_is() -> None:
    whole = Whole()
    assert as_policy(whole) is whole
    assert FunctionPolicy(plain, name="mine").name == "mine"


async def test_a_plain_function_may_block() -> None:
    both = threading.Barrier(2, timeout=20)

    def meets(messages: Sequence[Message]) -> str:
        both.wait()
        return "met"

    policy = as_policy(meets)
    replies = await asyncio.gather(*(policy.complete(CHAT, SAMPLING) for _ in range(2)))
    assert [reply.text for reply in replies] == ["met", "met"]


def fails(messages: Sequence[Message]) -> str:
    raise KeyError("key")


async def fails_later(messages: Sequence[Message]) -> str:
    raise OSError("server gone")


def refuses(messages: Sequence[Message]) -> str:
    raise PolicyError("as it says")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (fails, "^policy fails: KeyError: 'key'$"),
        (fails_later, "^policy fails_later: OSError: server gone$"),
        (refuses, "^as it says$"),
    ],
)
async def test_what_a_function_raises_is_a_policy_error(function: Any, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        await as_policy(function).complete(CHAT, SAMPLING)


@pytest.mark.parametrize("reply", [None, 3, b"up", ["up"]])
async def test_other_replies_are_refused(reply: Any) -> None:
    with pytest.raises(PolicyError, match=f"returned {type(reply).__name__}; expected str or"):
        await FunctionPolicy(lambda messages: reply).complete(CHAT, SAMPLING)


def test_names_that_are_none() -> None:
    with pytest.raises(UsageError, match="no policy is called 'scriptd'; did you mean: scripted"):
        lg.policy("scriptd")
    with pytest.raises(UsageError, match=r"did you mean: .*scripted"):
        lg.policy("zzz")
    with pytest.raises(UsageError, match="3 is no policy: expected one with `complete`"):
        lg.policy(3)  # type: ignore[arg-type]


def test_options_reach_the_named_policy() -> None:
    assert lg.policy("scripted", noise=0.0).name == "scripted-sokoban(noise=0.0)"
