"""The scripted coder: fails by chance, names its mistake, follows experiences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest

from leafe_gym.envs.code import contest_set
from leafe_gym.errors import PolicyError
from leafe_gym.policies.base import Policy, policy
from leafe_gym.prompts.base import prompt_set
from leafe_gym.testing.players.coder import coder, function_solutions
from leafe_gym.types import Experience, Message, Sampling, Start, Step, Task

TASK = Task(id="t", env_id="leafe/CodeContests-v0")
SHEET = contest_set.builtin_problems()["carousel"]
START = Start(observation="Submit.", instruction=f"Solve:\n{SHEET.statement}\n")
PROMPTS = prompt_set("code")


async def reply(
    player: Policy,
    messages: list[Message],
    seed: int = 0,
    heat: float = 1.0,
    purpose: Literal["act", "reflect", "refine"] = "act",
) -> str:
    sampling = Sampling(seed=seed, temperature=heat, purpose=purpose)
    return (await player.complete(messages, sampling)).text


def kind_of(text: str) -> str:
    return text.partition("# ")[2].partition("\n")[0]


async def test_it_fails_as_often_as_it_is_told_and_less_when_cold() -> None:
    messages = PROMPTS.render(TASK, START, [])
    for fails, heat, low, high in ((0.0, 1.0, 0, 0), (0.6, 1.0, 90, 150), (0.6, 0.5, 40, 80)):
        player = coder(fails)
        kinds = [kind_of(await reply(player, messages, seed, heat)) for seed in range(200)]
        assert low <= sum(kind != "reference" for kind in kinds) <= high
        assert set(kinds) <= {"reference", "wrong", "slow", "crash"}
    assert await reply(coder(), messages, 7) == await reply(coder(), messages, 7)


async def test_it_follows_an_experience_and_submits_its_own_kinds_only() -> None:
    experience = [Experience(step=0, text="Wrong answer on test 2: not the wrong one.")]
    messages = PROMPTS.render(TASK, START, [], experience)
    player = coder(1.0)
    kinds = {kind_of(await reply(player, messages, seed)) for seed in range(40)}
    assert kinds == {"slow", "crash"}
    only = coder(1.0, kinds=("slow",))
    plain = PROMPTS.render(TASK, START, [])
    assert {kind_of(await reply(only, plain, seed)) for seed in range(20)} == {"slow"}


async def test_it_reflects_on_the_first_comment() -> None:
    step = Step(
        action="x",
        reply="```python\n# crash\nx\n```",
        observation="Runtime error.",
        info={"feedback": "runtime error on test 3 of 9"},
    )
    found = json.loads(
        await reply(
            coder(), PROMPTS.render_reflection(TASK, START, [step, step]), purpose="reflect"
        )
    )
    assert found == {
        "step": 0,
        "experience": "Runtime error on test 3 of 9: not the crash one.",
    }
    silent = Step(action="x", reply=step.reply, observation="", info={"feedback": ""})
    none = json.loads(
        await reply(coder(), PROMPTS.render_reflection(TASK, START, [silent]), purpose="reflect")
    )
    assert none == {"step": None, "experience": ""}


async def test_what_it_does_not_know_it_does_not_invent() -> None:
    other = Start(observation="o", instruction="Something else.")
    with pytest.raises(PolicyError, match="does not know this problem"):
        await reply(coder(), PROMPTS.render(TASK, other, []))


async def test_it_learns_the_problems_of_a_file(tmp_path: Path) -> None:
    record = {
        "task_id": 5,
        "text": "Halve a number that nobody else halves.",
        "code": "def half(n):\n    return n / 2",
        "test_list": ["assert half(2) == 1", "assert half(5) == 2.5"],
    }
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps(record))
    player = policy("scripted-coder", problems=str(path), fails=0.0)
    text = function_solutions_text(path)
    start = Start(observation="o", instruction=text)
    assert "def half(n)" in await reply(player, PROMPTS.render(TASK, start, []))


def function_solutions_text(path: Path) -> str:
    from leafe_gym.envs.code.function_files import read_functions

    (text,) = function_solutions(read_functions(path))
    return text
