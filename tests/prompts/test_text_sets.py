"""The sets `react`, `shop` and `code`, what they share, and what their parsers promise."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leafe_gym.errors import BadReply
from leafe_gym.prompts.actions import choose_commands
from leafe_gym.prompts.base import prompt_set
from leafe_gym.prompts.messages import without_system
from leafe_gym.types import Completion, Experience, Start, Step, Task

TASK = Task(id="t", env_id="e")
SETS = ["chat", "code", "react", "shop"]


def listing(*commands: str) -> dict[str, Any]:
    return {"admissible_commands": list(commands)}


@pytest.mark.parametrize("name", ["react", "shop"])
def test_the_last_turn_alone_lists_what_is_possible(name: str) -> None:
    prompts = prompt_set(name)
    start = Start(observation="o", instruction="i", info=listing("a", "b"))
    step = Step(action="a", reply="Action: a", observation="x", info=listing("c"))
    unusable = Step(action=None, reply="?", observation="no")
    lost = Step(action="c", reply="Action: c", observation="y", terminated=True, info=listing("d"))
    assert "possible now: a, b\n" in prompts.render(TASK, start, [])[-1]["content"]
    for steps in ([step], [step, unusable]):
        turns = [one["content"] for one in prompts.render(TASK, start, steps)]
        assert "possible now: c\n" in turns[-1]
        assert not any("possible now" in text for text in turns[:-1])
    assert prompts.render(TASK, start, [step, lost])[-1]["content"].startswith("y")
    assert "possible now" not in prompts.render(TASK, start, [step, lost])[-1]["content"]


@given(st.lists(st.sampled_from(["go a", "go b", "go c", "take d", "take e", "look"])))
def test_at_most_so_many_commands_of_every_kind_are_listed(commands: list[str]) -> None:
    shown = choose_commands(commands, limit=3)
    unique = list(dict.fromkeys(commands))
    verbs = {command.split()[0] for command in commands}
    assert len(shown) == min(3, len(unique))
    assert list(shown) == [command for command in unique if command in shown]
    assert {command.split()[0] for command in shown} == verbs


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("over", [False, True])
def test_roles_alternate_with_and_without_a_system_turn(name: str, over: bool) -> None:
    prompts = prompt_set(name)
    steps = [
        Step(action="a", reply="Action: a", observation="x"),
        Step(action=None, reply="?", observation="no"),
        Step(action="b", reply="Action: b", observation="y", terminated=over),
    ]
    start = Start(observation="o", instruction="i")
    seen = [Experience(step=1, text="e")]
    for render in (prompts.render, prompts.render_reflection, prompts.render_refinement):
        chat = render(TASK, start, steps, seen)
        roles = [one["role"] for one in chat]
        assert roles == ["system", *["user", "assistant"] * 3, "user"]
        merged = without_system(chat)
        assert [one["role"] for one in merged] == roles[1:]
        assert merged[0]["content"].startswith(chat[0]["content"])
        assert merged[1:] == chat[2:]


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("actions", [1, 2, 7])
@pytest.mark.parametrize("over", [True, False])
def test_the_schema_bounds_the_step(name: str, actions: int, over: bool) -> None:
    schema: Any = prompt_set(name).reflection_schema(actions, over)
    assert schema["required"] == list(schema["properties"])
    assert schema["required"][0] == "reason"
    assert schema["required"][-1] == "experience"
    step = schema["properties"].get("step")
    if over and actions == 1:
        assert step is None
        return
    number = step if over else step["anyOf"][0]
    assert (number["minimum"], number["maximum"]) == (0, actions - 1)
    assert ({"type": "null"} in step.get("anyOf", [])) is not over


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("Action: search[red shoes]", "search[red shoes]"),
        ("I click [Next >].\nclick[next >]", "click[next >]"),
        ("Action: Click [Buy Now]", "click[Buy Now]"),
        ("Let me search[shoes] now.", "search[shoes]"),
        ("Action: buy now", "click[buy now]"),
        ("Earlier I did search[a].\nAction: click[b]", "click[b]"),
        ("click[a] or click[b]", None),
        ("Action: click[a]\nAction: click[b]", None),
        ("I would buy it.", None),
    ],
)
def test_the_shops_actions(text: str, action: str | None) -> None:
    prompts = prompt_set("shop")
    if action is None:
        with pytest.raises(BadReply):
            prompts.parse_action(Completion(text=text), ["click[buy now]"])
    else:
        assert prompts.parse_action(Completion(text=text), ["click[buy now]"]) == action


DEF = "def f(x):\n    return x"
FENCED = 'def f(x):\n    """\n    ```\n    f(1)\n    ```\n    """\n    return x'


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (f"```python\n{DEF}\n```", DEF),
        (f"```python\n{DEF}\n```\nIt prints:\n```\n[1, 2]\n```", DEF),
        (f"```python\n{DEF}\n```\n```python\nprint(f(3))\n```", DEF),
        (f"```python\n{DEF}\n```\n```python\ndef test_f():\n    assert f(1) == 1\n```", DEF),
        (f"```python\ndef f(x): pass\n```\nBetter:\n```python\n{DEF}\n```", DEF),
        (f"```bash\npip install x\n```\n```\n{DEF}\n```", DEF),
        ("1. So:\n   ```python\n   def f(x):\n       return x\n   ```", DEF),
        (f"So:\n```python\n{DEF}", DEF),
        (f"So:\n```python\n{DEF}```", DEF),
        (f"```python\n{DEF}\n```<|im_end|>", DEF),
        (f"<think>```python\nx = 1\n```</think>```python\n{DEF}\n```", DEF),
        (DEF, DEF),
        (f"Here it is: ```python\n{DEF}\n```", DEF),
        ("1. ```python\n   def f(x):\n       return x\n   ```", DEF),
        (f"**Code**```py\n{DEF}\n```\nDone.", DEF),
        (f"```Python3.11\n{DEF}\n```", DEF),
        (f"```ipython\n{DEF}\n```", DEF),
        (f"```src/main.py\n{DEF}\n```", DEF),
        (f"```python\n```python\n{DEF}\n```\n```", DEF),
        (f"```\n```python\n{DEF}\n```\n```", DEF),
        (f"```python\n{FENCED}\n```", FENCED),
        (f"```python\n{FENCED}\n```\nIt prints:\n```\n[1]\n```", FENCED),
        ("```python\nx = '''\n```\n'''\nprint(x)\n```", "x = '''\n```\n'''\nprint(x)"),
        ("```python\ndef f(x:\n```\nthen\n```python\nf(1)\n```", "f(1)"),
        ("```python\ndef f(x:\n```", "def f(x:"),
        ("```\n[1, 2]\n```", None),
        ("```\n3\n```\n```text\nx = 1\n```", None),
        ("```json\n{}\n```", None),
        ("```python\n<the code>\n```", None),
        ("So:\n```python\ndef f(x:\n    return", None),
        ("I would loop.", None),
    ],
)
def test_the_fence_that_holds_the_code(text: str, code: str | None) -> None:
    prompts = prompt_set("code")
    if code is None:
        with pytest.raises(BadReply):
            prompts.parse_action(Completion(text=text))
    else:
        assert prompts.parse_action(Completion(text=text)) == code
        again = prompts.parse_action(Completion(text=f"```python\n{code}\n```"))
        assert again == code
    with pytest.raises(BadReply, match="cut"):
        prompts.parse_action(Completion(text=text, finish_reason="length"))


def test_a_request_about_code_repeats_the_code_and_what_failed() -> None:
    step = Step(
        action=DEF,
        reply=f"```python\n{DEF}\n```",
        observation="Wrong answer.\nassert f(1) == 2",
        terminated=True,
        info={"feedback": "wrong answer on test 1 of 3"},
    )
    start = Start(observation="o", instruction="i")
    prompts = prompt_set("code")
    for render in (prompts.render_reflection, prompts.render_refinement):
        asked = render(TASK, start, [step])[-1]["content"]
        assert f"```python\n{DEF}\n```" in asked
        assert asked.count("assert f(1) == 2") == 2
        assert "wrong answer on test 1 of 3" in asked


DECORATION = ["Action:", "action 3:", "**", "`", "```", "```python", "\n", " ", "<|eot_id|>"]
CONTENT = ["look", "go", "x = 1", "def f(): pass", "search[a]", "click[b]", "<think>", "</think>"]
PARTS = st.sampled_from([*DECORATION, *CONTENT, "[THINK]"])


def test_parsers_read_or_refuse_and_read_their_own_result_again(
    counts: Callable[[int, int], int],
) -> None:
    @settings(max_examples=counts(150, 5000))
    @given(st.sampled_from(SETS), st.lists(PARTS | st.text(max_size=5), max_size=9).map("".join))
    def check(name: str, text: str) -> None:
        prompts = prompt_set(name)
        with pytest.raises(BadReply):
            prompts.parse_action(Completion(text=text, finish_reason="length"), ["look"])
        with suppress(BadReply):
            action = prompts.parse_action(Completion(text=text), ["look", "click[b]"])
            assert action.strip()
            form = f"```python\n{action}\n```" if name == "code" else f"Action: {action}"
            if not any(mark in action for mark in ("think>", "THINK]", "<|", "```")):
                assert prompts.parse_action(Completion(text=form), ["look", "click[b]"]) == action

    check()
