"""What a model answers: strict reading, and nothing but `BadReply` for the rest."""

from __future__ import annotations

import json
import time
from contextlib import suppress

import pytest

from leafe_gym.errors import BadReply
from leafe_gym.prompts.base import ReflectionVerdict, prompt_set
from leafe_gym.prompts.chat import ChatPrompts
from leafe_gym.types import Completion

PROMPTS = ChatPrompts()


def said(text: str) -> Completion:
    return Completion(text=text)


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("Action: up", "up"),
        ("  Action:up  \n\n", "up"),
        ("I go up.\nAction: up", "up"),
        ("Action: up\nAction: up", "up"),
        ("<think>Action: down\n</think>\nAction: up", "up"),
        ("\n <think></think>Action: go to desk 1", "go to desk 1"),
        ("Action: left would lose.\n</think>\n\nAction: up", "up"),
        ("[THINK]Action: left[/THINK]Action: up", "up"),
        ("<seed:think>Action: left</seed:think>Action: up", "up"),
        ("Action: left</seed:think>Action: up", "up"),
        ("<|channel>thought\nAction: left<channel|>Action: up", "up"),
        ("Action: say Action: now", "say Action: now"),
        ("Action: {e.__class__} $x", "{e.__class__} $x"),
        ("Action: " + "x" * 2000, "x" * 2000),
        ("action: up", "up"),
        ("ACTION : up", "up"),
        ("**Action:** up", "up"),
        ("**Action: up**", "up"),
        ("**Action**: `up`", "up"),
        ("- Action: up", "up"),
        ("### Next action: up", "up"),
        ("Action 3: up", "up"),
        ("Action #12: up", "up"),
        ("Action:\nup", "up"),
        ("**Action:**\n\nup\n", "up"),
        ("```\nAction: up\n```", "up"),
        ("Action: up\nThat opens the way.", "up"),
        ("Action: up<|eot_id|>", "up"),
        ("Action: up\n<|im_end|>\n", "up"),
        ("Action: up</s><end_of_turn>", "up"),
        ("**Action:** **up**", "up"),
        ("**Action:** `up`.", "up"),
        ("__Action:__ *up*", "up"),
        ("***Action: up***", "up"),
        ("* Action: ```up```", "up"),
        ("Action: Action: up", "up"),
        ("Action\uff1aup", "up"),
        ("**Action\uff1a** up", "up"),
        ('{"action": "up"}', "up"),
        ('```json\n{"thought": "so", "action": "up"}\n```', "up"),
        ("<action>\nup\n</action>", "up"),
        ("Action: 2**3", "2**3"),
        ("Action: *a* and *b*", "*a* and *b*"),
        ("Action: [A4] _x_ {}", "[A4] _x_ {}"),
        ('"Action: look around"', "look around"),
        ('"Action: look around".', "look around"),
        ("'Action: up'", "up"),
        ("[Action: up]", "up"),
        ("<Action: up>", "up"),
        ('"**Action:** up"', "up"),
        ("\u201cI can't stay here.\nAction: up\u201d", "up"),
        ('I go up:\n"Action: up"', "up"),
        ('The form is:\n"Action: down"\nAction: up', "up"),
        ('"Action: open "red box""', None),
        ('"Action: up" or "Action: down"', None),
        ('"Action: up"\n"Action: down"', None),
        ('"Action: "', None),
        ('["Action: up"', None),
    ],
)
def test_actions_that_can_be_read(text: str, action: str | None) -> None:
    if action is None:
        with pytest.raises(BadReply):
            PROMPTS.parse_action(said(text))
    else:
        assert PROMPTS.parse_action(said(text)) == action


COMMANDS = ("go north", "take Brass key", "look")


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("go north", "go north"),
        ("Go  North.", "go north"),
        ("`look`", "look"),
        ("> look", None),
        ("**take brass key**", "take Brass key"),
        ('"look"', "look"),
        ("```\nlook\n```", "look"),
        ("The key may open it.\n\ntake brass key", "take Brass key"),
        ("I should move. Action: go north", "go north"),
        ("Action: <look>", "look"),
        ("Action: 'Look'.", "look"),
        ("Action: \u201clook\u201d", "look"),
        ("Action: LOOK!", "look"),
        ("Action: **(_look_)**;", "look"),
        ("Action: look\u200b", "look"),
        ("Action: [go  north].", "go north"),
        ('{"action": "Go north"}', "go north"),
        ("<action>look</action><action>go north</action>", None),
        ("Action: go south.", "go south"),
        ("go north\nlook", None),
        ("go north\nor rather not", None),
        ("I look around.", None),
        ("go south", None),
        ("Action: look. Action: go north", "look. Action: go north"),
        ("So: Action: look or Action: go north", None),
        ("look\nAction: go north", "go north"),
    ],
)
def test_admissible_commands_need_no_label(text: str, action: str | None) -> None:
    if action is None:
        with pytest.raises(BadReply, match=r"names no action|several"):
            PROMPTS.parse_action(said(text), COMMANDS)
    else:
        assert PROMPTS.parse_action(said(text), COMMANDS) == action


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "names no action"),
        ("up", "names no action"),
        ("I would go up.", "names no action"),
        ("The action is up", "names no action"),
        ("Action:", "empty"),
        ("Action: \t ", "empty"),
        ("Action:\nAction: ", "empty"),
        ("Action: <the action>", "empty"),
        ("Action: ...", "empty"),
        ("Action: [command]", "empty"),
        ("Action: the command", "empty"),
        ('{"action": ""}', "empty"),
        ('{"action": ["up"]}', "names no action"),
        ('{"action": "up"} {"action": "up"}', "names no action"),
        ("Action: up\nAction: down", "several actions"),
        ("Action: up\nso\nAction: down", "several actions"),
        ("Action 1: up\nAction 2: down", "several actions"),
        ("Action: " + "x" * 2001, "2001 characters; at most 2000"),
        ("<think>Action: up", "thinking block is not closed"),
        ("[THINK]Action: up", "thinking block is not closed"),
        ("Action: up <think>", "thinks after"),
        ("x" * 65537, "65537 characters; at most 65536"),
    ],
)
def test_actions_that_cannot(text: str, reason: str) -> None:
    with pytest.raises(BadReply, match=reason):
        PROMPTS.parse_action(said(text))


GOOD = '{"step": 2, "experience": "not b"}'


def test_a_reply_that_was_cut_is_never_a_decision() -> None:
    for parse in (
        PROMPTS.parse_action,
        PROMPTS.parse_refinement,
        lambda c: PROMPTS.parse_reflection(c, 9),
    ):
        for text in ("Action: up", GOOD, '{"experience": "x"}', ""):
            with pytest.raises(BadReply, match="cut at the token limit"):
                parse(Completion(text=text, finish_reason="length"))


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (GOOD, ReflectionVerdict(step=2, text="not b")),
        (f"```json\n{GOOD}\n```", ReflectionVerdict(step=2, text="not b")),
        (f"```\n{GOOD}\n```\n", ReflectionVerdict(step=2, text="not b")),
        (f"<think>{{}}</think>\n{GOOD}", ReflectionVerdict(step=2, text="not b")),
        ('{"step": null, "experience": ""}', ReflectionVerdict(step=None)),
        ('{"step": null, "experience": "fine so far"}', ReflectionVerdict(step=None)),
        ('{"step": null}', ReflectionVerdict(step=None)),
        (
            '{"step": 0, "experience": "{\\"step\\": 1}"}',
            ReflectionVerdict(step=0, text='{"step": 1}'),
        ),
        (
            '{"step": 2, "experience": "not b",}',
            ReflectionVerdict(step=2, text="not b", repaired=True),
        ),
        (
            "{'step': 2, 'experience': 'not b'}",
            ReflectionVerdict(step=2, text="not b", repaired=True),
        ),
        (f'The 5" gap: {GOOD}', ReflectionVerdict(step=2, text="not b", repaired=True)),
        (f"{{x}} is not {{1: 2}}. {GOOD}", ReflectionVerdict(step=2, text="not b", repaired=True)),
        (
            f"```python\nd = {{}}\n```\n```json\n{GOOD}\n```",
            ReflectionVerdict(step=2, text="not b", repaired=True),
        ),
        (f"{GOOD}\nNote: {{see}} above.", ReflectionVerdict(step=2, text="not b", repaired=True)),
        (f"Here it is:\n{GOOD}", ReflectionVerdict(step=2, text="not b", repaired=True)),
        (
            f"Here:\n```json\n{GOOD}\n```\nDone.",
            ReflectionVerdict(step=2, text="not b", repaired=True),
        ),
    ],
)
def test_reflections_that_can_be_read(text: str, verdict: ReflectionVerdict) -> None:
    assert PROMPTS.parse_reflection(said(text), 3) == verdict


@pytest.mark.parametrize(
    "step",
    ["true", "1.0", '"1"', "-1", "3", "1e0", "NaN", "Infinity", "[1]", "9" * 400, "9" * 5000],
)
def test_a_step_is_a_number_of_an_action_that_was_taken(step: str) -> None:
    for end in ("}", ",}"):
        with pytest.raises(BadReply):
            PROMPTS.parse_reflection(said(f'{{"step": {step}, "experience": "x"{end}'), 3)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "step 2: not b",
        "[]",
        "2",
        "{}",
        '{"step": 2}',
        '{"step": 2, "experience": ""}',
        '{"step": 2, "experience": " \\n"}',
        '{"step": 2, "experience": 5}',
        '{"step": 2, "experience": null}',
        '{"step": 2, "experience": "x", "more": 1}',
        '{"experience": "x"}',
        f"[{GOOD}]",
        f"{GOOD}{GOOD}",
        f"{GOOD} or rather {GOOD}",
        "{x} and {y}",
        f'{{x}} {{"reason": "r"}} {GOOD}',
        f'{GOOD} or rather {{"step": 1',
        '{"step": 1, "step": 2, "experience": "x"}',
        '{"step": 1, "step": 2, "experience": "x",}',
        json.dumps({"step": 2, "experience": "x" * 4001}),
        '{"step": 2, "experience": "\\ud800"}',
        '{"step": 2, "experience": "\ud800"}',
        "\\{",
        "}{",
    ],
)
def test_reflections_that_cannot(text: str) -> None:
    with pytest.raises(BadReply):
        PROMPTS.parse_reflection(said(text), 3)


@pytest.mark.parametrize("order", [("step", "experience"), ("experience", "step")])
def test_json_that_stops_short_is_refused_wherever_it_stops(order: tuple[str, str]) -> None:
    parts = {"step": 12, "experience": 'say "no" } now'}
    whole = json.dumps({key: parts[key] for key in order})
    assert PROMPTS.parse_reflection(said(whole), 20).step == 12
    for length in range(len(whole)):
        with pytest.raises(BadReply):
            PROMPTS.parse_reflection(said(whole[:length]), 20)
        with pytest.raises(BadReply):
            PROMPTS.parse_reflection(said(f"```json\n{whole[:length]}"), 20)


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ('{"reason": "r", "experience": "x"}', 0),
        ('{"experience": "x"}', 0),
        ('{"reason": "r", "step": 7, "experience": "x"}', 0),
        ('{"reason": "r", "step": null, "experience": ""}', None),
    ],
)
def test_after_a_single_action_the_step_is_known(text: str, step: int | None) -> None:
    assert PROMPTS.parse_reflection(said(text), 1).step == step
    if step is not None:
        assert PROMPTS.parse_refinement(said(text)).step == 0


@pytest.mark.parametrize(
    "copied",
    [
        "The episode is over.",
        "the episode is OVER. Stop acting now!",
        "What to do instead next time, in one or two sentences",
        "<what to do instead next time, in one or two sentences>",
        "One action at a time.",
    ],
)
def test_an_experience_that_only_repeats_the_prompt_is_refused(copied: str) -> None:
    with pytest.raises(BadReply, match="only repeats the prompt"):
        PROMPTS.parse_reflection(said(json.dumps({"step": 2, "experience": copied})), 3)
    more = json.dumps({"step": 2, "experience": f"{copied} Take the key first."})
    assert PROMPTS.parse_reflection(said(more), 3).step == 2


def test_refinements() -> None:
    assert PROMPTS.parse_refinement(said('{"experience": "x"}')) == ReflectionVerdict(
        step=0, text="x"
    )
    assert PROMPTS.parse_refinement(said('{"experience": "x",}')).repaired
    for text in ('{"experience": ""}', '{"experience": "  "}', '{"experience": 1}', "x"):
        with pytest.raises(BadReply):
            PROMPTS.parse_refinement(said(text))


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "[" * 60_000,
        "{" * 60_000,
        "[{" * 30_000,
        '{"a":' * 10_000,
        '{"step":' + "[" * 30_000 + "]" * 30_000 + "}",
        '{"step": 1, "experience": "' + '\\"' * 30_000,
        '{"step": 5, "experience": "x"' + "," * 30_000 + "}",
        " " * 60_000,
        "```" + "\n" * 60_000,
        "```json" + " \n" * 30_000 + "x",
        "Action: a" + " " * 60_000 + "b",
        "<think>" * 9_000,
        "<action>" + " " * 60_000,
        "* " * 30_000 + "action",
        "{}" * 30_000,
        "```python\nx='''\n```\n" * 3_000,
    ],
)
def test_degenerate_replies_are_refused_at_once(text: str) -> None:
    begun = time.thread_time()
    with pytest.raises(BadReply):
        PROMPTS.parse_action(said(text))
    with pytest.raises(BadReply):
        PROMPTS.parse_reflection(said(text), 2)
    with suppress(BadReply):
        prompt_set("code").parse_action(said(text))
    assert time.thread_time() - begun < 20
