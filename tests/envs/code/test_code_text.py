"""Programs in replies, and the comparison of outputs."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leafe_gym.envs.code.compare import outputs_match
from leafe_gym.envs.code.extract import extract_code
from leafe_gym.envs.code.language import PYTHON
from leafe_gym.errors import BadReply
from leafe_gym.prompts.base import prompt_set
from leafe_gym.types import Completion, Start, Step, Task


@pytest.mark.parametrize(
    ("expected", "got", "same"),
    [
        ("1 2\n3\n", "1  2 \n3", True),
        ("a\n\n\n", "a", True),
        ("", "\n \n", True),
        ("1.0", "1.0000009", True),
        ("1e6", "1000000.5", True),
        ("0.1", "0.100002", False),
        ("1", "1.0", False),
        ("1000000", "1000001", False),
        ("1.5", "nan", False),
        ("nan", "nan", True),
        ("1.5", "inf", False),
        ("yes", "Yes", False),
        ("1 2", "1", False),
        ("1", "1 2", False),
        ("1.5", "1_0.5", False),
        ("2.0", "1.99999999999", True),
    ],
)
def test_outputs_compare_as_judges_do(expected: str, got: str, same: bool) -> None:
    assert outputs_match(expected, got) is same


@given(st.lists(st.text("ab19.-", min_size=1)), st.randoms())
def test_spaces_never_decide(tokens: list[str], rng: object) -> None:
    loose = "".join(f"{one}{rng.choice([' ', '  ', chr(10), ' ' + chr(10)])}" for one in tokens)  # type: ignore[attr-defined]
    assert outputs_match(" ".join(tokens), loose)
    assert not outputs_match(" ".join(tokens), f"{loose} x")


def test_the_last_fence_of_the_language_counts() -> None:
    reply = "Draft:\n```python\nold\n```\nBetter:\n```py\nnew\n```\nRun it so:\n```\n$ run\n```\n"
    assert extract_code(reply) == "new\n"
    assert extract_code("```\nplain\n```\n```text\nno\n```") == "plain\n"
    assert extract_code("~~~python\nx = '```'\n~~~") == "x = '```'\n"
    assert extract_code("```json\n{}\n```") == ""
    assert extract_code("x = 1\r\ny = 2") == "x = 1\ny = 2"
    assert PYTHON.compile is None


@given(st.text())
def test_any_reply_can_be_read(text: str) -> None:
    extract_code(text)
    with suppress(BadReply):
        assert prompt_set("code").parse_action(Completion(text=text)).strip()


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("I would sort the list.", "no code fence"),
        ("Yes", "no code fence"),
        ("```python\n\n```", "empty"),
        ("<think>hm", "not closed"),
    ],
)
def test_replies_without_code_are_refused(reply: str, reason: str) -> None:
    with pytest.raises(BadReply, match=reason):
        prompt_set("code").parse_action(Completion(text=reply))


def test_a_cut_reply_is_no_action() -> None:
    with pytest.raises(BadReply, match="cut"):
        prompt_set("code").parse_action(
            Completion(text="```python\nx = 1\n```", finish_reason="length")
        )


def test_the_prompt_set_asks_for_code_and_names_actions_by_number() -> None:
    prompts = prompt_set("code")
    step = Step(
        action="x = 1\ny = 2",
        reply="```python\nx = 1\ny = 2\n```",
        observation="Wrong answer on public test 1.",
        info={"feedback": "wrong answer on test 1 of 9"},
    )
    task, start = Task(id="t", env_id="e"), Start(observation="o", instruction="i")
    acting = prompts.render(task, start, [step])
    assert "```python" in acting[0]["content"]
    assert "test 1 of 9" not in "".join(one["content"] for one in acting)
    look = prompts.render_reflection(task, start, [step])
    assert "- action 0: wrong answer on test 1 of 9" in look[-1]["content"]
    assert look[:-1] == acting[:-1]
    assert look[-1]["content"].startswith(acting[-1]["content"])
    assert prompts.parse_action(Completion(text=step.reply)) == step.action
    assert prompts.hash != prompt_set("chat").hash
