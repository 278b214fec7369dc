"""What a model reads: the chat prompt set, word for word and by its promises."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leafe_gym.errors import UsageError
from leafe_gym.prefixes import chatml
from leafe_gym.prompts.base import prompt_set
from leafe_gym.prompts.chat import ChatPrompts
from leafe_gym.types import Experience, Message, Start, Step, Task

TASK = Task(id="t", env_id="me/T-v0")
START = Start(observation="A door.", instruction="Get out.")
PROMPTS = ChatPrompts()


def taken(action: str, observation: str, **more: object) -> Step:
    return Step(action=action, reply=f"Action: {action}", observation=observation, **more)  # type: ignore[arg-type]


def unusable(reply: str) -> Step:
    return Step(action=None, reply=reply, observation=PROMPTS.unusable_reply_message("it is empty"))


STEPS = [
    taken("knock", "Nobody answers.", info={"feedback": "Knocking is pointless."}),
    unusable("hm"),
    taken("wait", "It got dark.", terminated=True, info={"won": False, "feedback": ""}),
]

ACTING = """\
system> You act in a text environment, one action at a time, to do what the task asks.
Say in one short sentence what to do next, then end your reply with exactly one line of this form:
Action: the next action
user> Get out.

A door.
assistant> Action: knock
user> Nobody answers.
assistant> hm
user> Your reply could not be used: it is empty. Reply with one line that starts with \
"Action: ".\
"""

ADVICE = """

Advice for this moment, learned from an earlier attempt that failed:
Try the window."""

OVER = """
assistant> Action: wait
user> It got dark.

The episode is over."""

REQUEST = """

Stop acting now. The attempt failed.
The actions of the attempt, by number:
- action 0 (knock): Knocking is pointless.
- action 1 (wait)

"""

REFLECT = """\
The last action was number 1. Find the first action that was a mistake: the one which, done \
differently, would have led to success. Answer with one JSON object and nothing else:
{"reason": "<what went wrong and why, in one sentence>", "step": <number of that action, 0 to 1>, \
"experience": "<what to do instead next time, in one or two sentences>"}"""

REFINE = """\
The task will be tried again from the beginning. Find out what went wrong. Answer with one JSON \
object and nothing else:
{"reason": "<what went wrong and why, in one sentence>", "experience": "<what to do instead next \
time, in one or two sentences>"}"""


def text(chat: Sequence[Message]) -> str:
    return "\n".join(f"{turn['role']}> {turn['content']}" for turn in chat)


def test_the_acting_chat_word_for_word() -> None:
    assert text(PROMPTS.render(TASK, START, STEPS[:2])) == ACTING
    assert text(PROMPTS.render(TASK, START, STEPS)) == ACTING + OVER
    tip = Experience(step=1, text="Try the window.")
    assert text(PROMPTS.render(TASK, START, STEPS[:2], [tip])) == ACTING + ADVICE
    assert text(PROMPTS.render(TASK, START, STEPS, [tip])) == ACTING + ADVICE + OVER


def test_requests_word_for_word() -> None:
    reflecting = PROMPTS.render_reflection(TASK, START, STEPS)
    refining = PROMPTS.render_refinement(TASK, START, STEPS)
    assert text(reflecting) == ACTING + OVER + REQUEST + REFLECT
    assert text(refining) == ACTING + OVER + REQUEST + REFINE


@pytest.mark.parametrize(("acted", "which"), [(1, "0"), (2, "0 to 1"), (4, "0 to 3")])
def test_before_a_failure_no_mistake_is_offered(acted: int, which: str) -> None:
    steps = [taken("a", "x")] * acted
    last = PROMPTS.render_reflection(TASK, START, steps)[-1]["content"]
    assert "The task is not done yet." in last
    assert f'"step": <number of that action, {which}>' in last
    assert '"step": null' in last


@pytest.mark.parametrize("ending", [{"terminated": True}, {"truncated": True}])
@pytest.mark.parametrize("acted", [1, 2, 5])
def test_after_a_failure_it_is_not(ending: dict[str, bool], acted: int) -> None:
    steps = [*[taken("a", "x")] * (acted - 1), taken("a", "x", **ending)]
    last = PROMPTS.render_reflection(TASK, START, steps)[-1]["content"]
    assert "null" not in last
    assert ('"step"' in last) == (acted > 1)
    assert last.index('"reason"') < last.index('"experience"')


def test_the_tasks_own_instruction_stands_in_where_the_start_has_none() -> None:
    task = Task(id="t", env_id="me/T-v0", instruction="From the task.")
    chat = PROMPTS.render(task, Start(observation="o"), [])
    assert chat[1]["content"] == "From the task.\n\no"


words = st.text(max_size=30)
rounds = st.lists(
    st.builds(lambda a, o: taken(a, o), words, words) | st.builds(unusable, words), max_size=8
)


@given(rounds, words)
def test_chats_only_grow(steps: list[Step], reply: str) -> None:
    for length in range(len(steps)):
        before = PROMPTS.render(TASK, START, steps[:length])
        after = PROMPTS.render(TASK, START, steps[: length + 1])
        assert after[: len(before)] == before
        said = chatml(before) + steps[length].reply.encode() + b"<|im_end|>\n"
        assert chatml(after).startswith(said)


@given(rounds, words)
def test_what_is_added_is_a_suffix_of_the_last_turn(steps: list[Step], tip: str) -> None:
    acting = PROMPTS.render(TASK, START, steps)
    tau = sum(step.action is not None for step in steps)
    asked = [
        PROMPTS.render(TASK, START, steps, [Experience(step=tau, text=tip)]),
        PROMPTS.render_reflection(TASK, START, steps),
        PROMPTS.render_refinement(TASK, START, steps),
    ]
    for chat in asked:
        assert chat[:-1] == acting[:-1]
        assert chat[-1]["role"] == "user"
        assert chat[-1]["content"].startswith(acting[-1]["content"])
        assert len(chat[-1]["content"]) > len(acting[-1]["content"])
    assert asked[0][-1]["content"].endswith(tip)


@given(rounds, st.integers(0, 8), words)
def test_a_rows_prompt_is_the_acting_prompt_without_its_tips(
    steps: list[Step], tau: int, tip: str
) -> None:
    row = PROMPTS.render(TASK, START, steps)
    shown = PROMPTS.render(TASK, START, steps, [Experience(step=tau, text=tip)])
    added = ChatPrompts().render(TASK, START, [], [Experience(step=0, text=tip)])[1]["content"]
    suffix = added.removeprefix(PROMPTS.render(TASK, START, [])[1]["content"])
    changed = [
        (one["content"], other["content"])
        for one, other in zip(row, shown, strict=True)
        if one != other
    ]
    acted = sum(step.action is not None for step in steps)
    assert len(changed) == (tau <= acted)
    assert all(with_tip == without + suffix for without, with_tip in changed)


def test_every_tip_stands_right_before_its_own_action() -> None:
    tips = [Experience(step=0, text="first"), Experience(step=1, text="later")]
    chat = PROMPTS.render(TASK, START, STEPS, [*tips, Experience(step=1, text="too")])
    turns = [turn["content"] for turn in chat if turn["role"] == "user"]
    assert [[word in turn for word in ("first", "later", "too")] for turn in turns] == [
        [True, False, False],
        [False, False, False],
        [False, True, True],
        [False, False, False],
    ]


NASTY = [
    *("{", "}", "{{x}}", "$", "$observation", "${text}", "%s", "{e.__class__}", "\\1", "```"),
    *("<|im_start|>system", "<|im_end|>", "</think>", "\x1b[2J", "\ud800", "Action: x"),
]


@pytest.mark.parametrize("nasty", NASTY)
def test_odd_text_appears_verbatim_and_once(nasty: str) -> None:
    mark = f"<<{nasty}>>"
    plain = [taken("a", "x"), taken("b", "y")]
    tip = Experience(step=2, text=mark)
    commented = [plain[0], taken("b", "y", info={"feedback": mark})]
    chats = [
        PROMPTS.render(TASK, Start(observation=mark), plain),
        PROMPTS.render(TASK, Start(observation="", instruction=mark), plain),
        PROMPTS.render(TASK, START, [taken("a", mark)]),
        PROMPTS.render(TASK, START, [unusable(mark)]),
        PROMPTS.render(TASK, START, plain, [tip]),
        PROMPTS.render_reflection(TASK, START, commented),
        PROMPTS.render_refinement(TASK, START, plain, [tip]),
    ]
    for chat in chats:
        assert text(chat).count(mark) == 1


@given(rounds)
def test_comments_of_the_environment_never_reach_an_acting_prompt(steps: list[Step]) -> None:
    secret = "The comment."
    spoken = [*steps, taken("a", "b", info={"feedback": secret})]
    tip = [Experience(step=0, text="x")]
    assert PROMPTS.render(TASK, START, spoken) == PROMPTS.render(
        TASK, START, [*steps, taken("a", "b")]
    )
    assert secret not in text(PROMPTS.render(TASK, START, spoken, tip))
    assert text(PROMPTS.render_reflection(TASK, START, spoken)).count(secret) == 1


def test_the_set_names_itself() -> None:
    found = prompt_set("chat")
    assert (found.name, found.hash) == ("chat", PROMPTS.hash)
    assert re.fullmatch("[0-9a-f]{16}", found.hash)
    with pytest.raises(UsageError, match="no prompt set is called 'chart'; did you mean: chat"):
        prompt_set("chart")
