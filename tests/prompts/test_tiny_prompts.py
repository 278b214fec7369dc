"""The prompt set `tiny`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leafe_gym.errors import BadReply
from leafe_gym.prompts.base import prompt_set
from leafe_gym.types import Completion, Experience, Start, Step, Task

TINY = prompt_set("tiny")
TASK = Task(id="t", env_id="leafe/Sokoban-v0")
BOARDS = [
    "######\n#@$.-#\n#----#\n#----#\n#----#\n######",
    "######\n#-@*-#\n#----#\n#----#\n#----#\n######",
]
START = Start(observation=BOARDS[0])
STEP = Step(action="right", reply="right", observation=BOARDS[1])
BAD = Step(action=None, reply="?", observation="unusable")


def content(messages: list[dict[str, str]]) -> str:
    (message,) = messages
    return message["content"]


def test_acting_prompt_shows_step_and_board_only() -> None:
    assert content(TINY.render(TASK, START, [])) == "s0\n@$.-\n----\n----\n----"
    assert content(TINY.render(TASK, START, [STEP])) == "s1\n-@*-\n----\n----\n----"


def test_unusable_reply_is_no_step_and_hides_no_board() -> None:
    assert TINY.render(TASK, START, [STEP, BAD]) == TINY.render(TASK, START, [STEP])


def test_tips_name_their_step() -> None:
    own = Experience(step=1, text="not up but left")
    whole = Experience(step=0, text="s4 not up but left")
    text = content(TINY.render(TASK, START, [STEP], [whole, own]))
    assert text.startswith("tip s4 not up but left\ntip s1 not up but left\ns1\n")
    assert "tip" not in content(TINY.render(TASK, START, [], [own])), "before its step"


def test_looking_back_shows_every_step_without_tips() -> None:
    own = Experience(step=0, text="not up but left")
    text = content(TINY.render_reflection(TASK, START, [BAD, STEP], [own]))
    assert text == "s0\n@$.-\n----\n----\n----\nright\ns1\n-@*-\n----\n----\n----\nfailed"


def test_answers() -> None:
    reply = Completion(text="s3 @$.- ---- ---- ---- not left but up")
    verdict = TINY.parse_reflection(reply, 4)
    assert (verdict.step, verdict.text) == (3, "not left but up")
    verdict = TINY.parse_refinement(reply)
    assert (verdict.step, verdict.text) == (0, "s3 not left but up")
    assert TINY.parse_reflection(Completion(text="none"), 4).step is None
    assert TINY.parse_action(Completion(text="up")) == "up"


@pytest.mark.parametrize(
    "text",
    ["", "s3 not left but up", "s4 @$.- not left but up", "s1 @$.- not up but up", "s1 @$.- left"],
)
def test_bad_answers(text: str) -> None:
    with pytest.raises(BadReply):
        TINY.parse_reflection(Completion(text=text), 4)


@given(st.text(), st.sampled_from(["stop", "length"]))
def test_any_reply_is_read_or_refused(text: str, reason: str) -> None:
    completion = Completion(text=text, finish_reason=reason)  # type: ignore[arg-type]
    for parse in (
        TINY.parse_action,
        TINY.parse_refinement,
        lambda reply: TINY.parse_reflection(reply, 5),
    ):
        try:
            parse(completion)
        except BadReply:
            continue
        assert reason == "stop", "a reply that was cut is never a decision"
