"""Thinking is told from the answer, wherever its marks are."""

from __future__ import annotations

import pytest

from leafe_gym.prompts.thinking import BLOCKS, is_mark, opens_thinking, split_thinking


@pytest.mark.parametrize(("opening", "closing"), BLOCKS)
def test_a_block_of_the_models_own(opening: str, closing: str) -> None:
    reply = f"{opening}\nleft or up?\n\nup.\n{closing}\n\nAction: up\n"
    for opened in (False, None, True):  # some models repeat the mark that the prompt ends with
        assert split_thinking(reply, opened) == ("left or up?\n\nup.", "Action: up\n")
    assert split_thinking(f"\n {reply}", False) == ("left or up?\n\nup.", "Action: up\n")


@pytest.mark.parametrize(("opening", "closing"), BLOCKS)
def test_a_block_that_the_prompt_opens(opening: str, closing: str) -> None:
    assert opens_thinking(f"assistant\n{opening}\n")
    assert not opens_thinking(f"assistant\n{opening}\n\n{closing}\n\n")
    assert not opens_thinking(f"what is {opening}?\nassistant\n")
    reply = f"Action: left would lose.\n{closing}\n\nAction: up"
    for opened in (True, None):
        assert split_thinking(reply, opened) == ("Action: left would lose.", "Action: up")
    assert split_thinking(reply, False) == ("", reply)


@pytest.mark.parametrize(("opening", "closing"), BLOCKS)
def test_thinking_that_was_cut_off_is_no_answer(opening: str, closing: str) -> None:
    assert split_thinking(f"{opening}\nAction: up", False) == ("Action: up", "")
    assert split_thinking("Action: up", True) == ("Action: up", "")
    assert split_thinking(f"{opening}{closing}Action: up", False) == ("", "Action: up")


@pytest.mark.parametrize("opened", [False, None])
@pytest.mark.parametrize(
    "reply",
    [
        "",
        "Action: up",
        "Say <think> and </think>.",
        "  Action: up\n",
        "a <think> b",
        "[THINKING] x",
    ],
)
def test_a_reply_without_thinking_is_left_as_it_is(reply: str, opened: bool | None) -> None:
    assert split_thinking(reply, opened) == ("", reply)


def test_only_the_first_block_is_thinking() -> None:
    reply = "<think>a</think>b <think>c</think> d"
    assert split_thinking(reply, False) == ("a", "b <think>c</think> d")
    assert split_thinking("a</think>b</think>c", True) == ("a", "b</think>c")


def test_channels() -> None:
    analysis = "<|channel|>analysis<|message|>up?"
    final = "<|start|>assistant<|channel|>final<|message|>Action: up"
    assert split_thinking(f"{analysis}<|end|>{final}", False) == ("up?", "Action: up")
    assert split_thinking(analysis, False) == ("up?", "")
    assert split_thinking("<|channel|>final<|message|>Action: up", None) == ("", "Action: up")
    constrained = "<|channel|>final <|constrain|>json<|message|>{}"
    assert split_thinking(f"{analysis}<|end|>{constrained}") == ("up?", "{}")


def test_special_tokens_that_mark_thinking() -> None:
    assert is_mark("[THINK]")
    assert is_mark("<|channel>")
    assert not is_mark("<|im_end|>")
