"""The prompt set `tiny-multiturn`: a conversation that only grows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from leafe_gym.prompts.base import prompt_set
from leafe_gym.prompts.tiny import ACTIONS
from leafe_gym.types import Experience, Message, Start, Step, Task

TALK = prompt_set("tiny-multiturn")
TASK = Task(id="t", env_id="leafe/Sokoban-v0")
BOARD = "######\n#@$.-#\n#----#\n#----#\n#----#\n######"
START = Start(observation=BOARD)
BAD = Step(action=None, reply="?", observation="unusable")


def step(action: str, number: int) -> Step:
    return Step(action=action, reply=action, observation=BOARD.replace("-", "-#"[number % 2], 1))


def words(chat: Sequence[Message]) -> str:
    """The chat as one text, up to where the answer begins."""
    return " | ".join(f"{turn['role']}: {turn['content']}" for turn in chat)


STEPS = [step("right", 1), BAD, step("up", 2)]
OWN = Experience(step=1, text="not up but left")
WHOLE = Experience(step=0, text="s4 not up but left")


def test_every_board_is_a_turn_and_every_action_its_answer() -> None:
    rows = "@$.-\n----\n----\n----"
    chat = TALK.render(TASK, START, STEPS)
    assert [turn["role"] for turn in chat] == ["user", "assistant", "user", "assistant", "user"]
    assert chat[0]["content"] == f"s0\n{rows}"
    assert [chat[1]["content"], chat[3]["content"]] == ["right", "up"]
    assert chat[4]["content"].startswith("s2\n")


def test_tips_end_the_turn_of_their_tau() -> None:
    chat = TALK.render(TASK, START, STEPS, [WHOLE, OWN])
    assert chat[0]["content"].endswith("\ntip s4 not up but left")
    assert chat[2]["content"].endswith("\ntip s1 not up but left")
    assert TALK.render(TASK, START, [], [OWN]) == TALK.render(TASK, START, []), "before its step"


def test_looking_back_is_a_suffix_of_acting() -> None:
    acting = words(TALK.render(TASK, START, STEPS, [WHOLE]))
    assert words(TALK.render_reflection(TASK, START, STEPS, [WHOLE])) == f"{acting}\nfailed"
    assert TALK.render_refinement(TASK, START, STEPS) == TALK.render_reflection(TASK, START, STEPS)
    assert TALK.hash != prompt_set("tiny").hash


@given(st.lists(st.sampled_from([*ACTIONS, None]), max_size=12), st.integers(0, 11))
def test_the_conversation_only_grows(actions: list[str | None], tau: int) -> None:
    steps = [BAD if a is None else step(a, n) for n, a in enumerate(actions)]
    tips = [Experience(step=tau, text="not up but left")]
    for shown in ([], tips):
        said = [words(TALK.render(TASK, START, steps[:n], shown)) for n in range(len(steps) + 1)]
        for n, (before, after) in enumerate(pairwise(said)):
            action = steps[n].action
            if action is None:
                assert after == before, "the same prompt is asked again"
            else:
                assert after.startswith(f"{before} | assistant: {action} | user: ")
    plain, tipped = (words(TALK.render(TASK, START, steps, shown)) for shown in ([], tips))
    assert tipped.replace(f"\ntip s{tau} not up but left", "") == plain
