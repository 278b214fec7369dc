"""The leak check: what it finds, what it lets through, and how much of what is planted."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from row_toys import last, step, toy_tree

from leafe_gym.distill.data.leaks import HistoryCheck, LeakCheck, find, template_texts
from leafe_gym.distill.data.word_splitting import words
from leafe_gym.prompts.base import prompt_set
from leafe_gym.tree import Branch, Tree
from leafe_gym.types import Experience, Message, Start, Step

TIP = {7: "Pushing the box up here traps it in the corner, so go left instead."}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("I saw that pushing the box UP here, hm.\nAction: left", "quote"),
        ("It is: the box, pushing up here traps\nAction: left", "quote"),
        ("I rely on experience 7.\nAction: left", "number"),
        ("Tip #7: no.\nAction: left", "number"),
        ("As the tip says, left.\nAction: left", "cue"),
        ("Following your hint I go.\nAction: left", "cue"),
        ("In the earlier attempt I lost.\nAction: left", "cue"),
        ("I was told so.\nAction: left", "cue"),
        ("I push the box up. It is stuck in a corner.\nAction: left", None),
        ("Rule 7 applies, experience 8 does not.\nAction: left", None),
        ("Action: left", None),
        ("", None),
    ],
)
def test_replies(text: str, reason: str | None) -> None:
    assert find(text, TIP) == reason


def test_what_the_row_says_anyway_does_not_count() -> None:
    assert (
        find("Pushing the box up here is bad.", TIP, ["Pushing the box up here: forbidden"]) is None
    )
    assert find("The hint is a letter.", TIP, ["You get the hint 'e'."]) is None


CHINESE = "向上推箱子会把它卡在角落里。应该先向左走。"
JAPANESE = "箱を上に押すと角で動かなくなる。左へ。"


@pytest.mark.parametrize(
    ("text", "experience", "reason"),
    [
        (CHINESE, CHINESE, "quote"),
        ("我知道把它卡在角落里应该先走。Action: left", CHINESE, "quote"),
        ("箱を上に押すと角で動かなくなる。left", JAPANESE, "quote"),
        ("我向左走。Action: left", CHINESE, None),
        ("先看看这个房间里有什么东西。", CHINESE, None),
        ("向左走", "向左走", None),
    ],
)
def test_scripts_without_spaces(text: str, experience: str, reason: str | None) -> None:
    assert find(text, {1: experience}) == reason


def test_short_experiences_count_as_a_whole_or_not_at_all() -> None:
    assert find("Now I push it left.", {1: "Push it left."}) == "quote"
    assert find("Now I push it.", {1: "Push it left."}) is None
    assert find("Now I push left.", {1: "Push left."}) is None


def turn(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


def reason(
    tree: Tree, history: Sequence[Step], act: Step, prompt: list[Message], target: str
) -> str | None:
    check = HistoryCheck(LeakCheck(tree, prompt_set("chat")))
    for past in history:
        check.add(past)
    return check.reason(act, target, prompt)


def test_only_what_was_seen_can_be_told() -> None:
    """The root said it first and the experience quotes it: no leak, before or after."""
    said = "The old lamp hangs by the west gate.\nAction: a"
    tree = Tree(task=toy_tree().task, start=Start(observation="o"))
    tree.add(Branch(id=0, steps=(step("a", reply=said), last("b", False))))
    tip = Experience(step=1, text="The old lamp hangs by the west gate, do c.")
    after = last("c", True, shown=[1], reply="It hangs by the west gate.\nAction: c")
    tree.add(Branch(id=1, parent=0, experience=tip, steps=(after,), ending="won"))
    root = tree.branches[0].steps
    assert reason(tree, [], root[0], turn("o"), said) is None
    assert reason(tree, root[:1], after, turn("o"), after.reply) is None
    # Without the first step's words it would be one.
    assert reason(tree, [], after, turn("o"), after.reply) == "quote in target"


def test_a_prompt_that_shows_an_experience_is_found() -> None:
    tree = toy_tree()
    tip = tree.branches[1].experience
    assert tip is not None
    prompts = prompt_set("chat").render(tree.task, tree.start, tree.history(0, before=1), [tip])
    revised = tree.branches[1].steps[0]
    assert (
        reason(tree, tree.history(0, before=1), revised, prompts, "Action: B") == "quote in prompt"
    )


def test_an_observation_may_say_what_an_experience_says() -> None:
    tree = toy_tree()
    tip = tree.branches[1].experience
    assert tip is not None
    sign = step("a", observation=f"A sign: {tip.text}")
    prompt = turn(f"A sign: {tip.text}")
    target = f"The sign says: {tip.text}\nAction: B"
    revised = step("B", shown=[1], reply=target)
    assert reason(tree, [sign], revised, prompt, target) is None


def test_the_advised_action_itself_is_no_leak() -> None:
    tree = Tree(task=toy_tree().task, start=Start(observation="o"))
    tree.add(Branch(id=0, steps=(last("look", False),)))
    tip = Experience(step=0, text="First take the copper key from the shelf.")
    act = last("take the copper key from the shelf", True, shown=[1])
    tree.add(Branch(id=1, parent=0, experience=tip, steps=(act,), ending="won"))
    assert reason(tree, [], act, turn("o"), act.reply) is None


def test_templates_are_known() -> None:
    said = " ".join(template_texts(prompt_set("chat")))
    assert "exactly one line of this form" in said
    assert "tip" not in words(said)


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_text_is_judged(text: str, tip: str) -> None:
    find(text, {1: tip})
    if len(words(tip)) >= 5:
        assert find(f"So: {tip}\nAction: x", {1: tip}) is not None


def test_planted_leaks(counts: Callable[[int, int], int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    measure = importlib.import_module("_planted_leaks").measure
    found = measure(counts(100, 1000))
    assert found["planted"] >= 500
    for way in ("verbatim", "fragment", "cue"):
        assert found[f"recall_{way}"] >= 0.99, way
    assert found["recall_swapped"] >= 0.9
    assert found["recall_synonyms"] >= 0.7
    assert found["false_alarms_clean"] <= 0.01
    assert found["false_alarms_advised"] <= 0.2
