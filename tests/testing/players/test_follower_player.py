"""The follower errs by chance, finds its mistake and follows experiences."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from leafe_gym.errors import PolicyError
from leafe_gym.prompts.chat import ChatPrompts
from leafe_gym.testing.players.follower import Follower
from leafe_gym.types import Experience, Message, Sampling, Start, Step, Task

WAY = ["open door", "go in", "take gold"]
TASK, START = Task(id="t", env_id="e"), Start(observation="A door.", instruction="Find the gold.")
PROMPTS = ChatPrompts()


def say(player: Follower, chat: list[Message], seed: int = 0, **sampling: Any) -> str:
    return asyncio.run(player.complete(chat, Sampling(seed=seed, **sampling))).text


def steps(*actions: str) -> list[Step]:
    return [Step(action=one, reply=f"Action: {one}", observation="ok") for one in actions]


def test_it_follows_and_errs() -> None:
    player = Follower({"Find the gold": WAY}, noise=0.3)
    chat = PROMPTS.render(TASK, START, steps(*WAY[:1]))
    said = [say(player, chat, seed) for seed in range(400)]
    assert said == [say(player, chat, seed) for seed in range(400)]
    assert 0.2 < sum(one != "Action: go in" for one in said) / 400 < 0.4
    assert {say(player, chat, seed, temperature=0.0) for seed in range(50)} == {"Action: go in"}
    assert say(Follower({"": WAY}, noise=0), PROMPTS.render(TASK, START, steps(*WAY))) == (
        "Action: look"
    )


def test_it_reflects_and_follows_experiences() -> None:
    player = Follower({"Find the gold": WAY}, noise=0.0)
    done = steps("open door", "look", "take gold")
    verdict = json.loads(
        say(player, PROMPTS.render_reflection(TASK, START, done), purpose="reflect")
    )
    assert verdict["step"] == 1
    experience = Experience(step=1, text=verdict["experience"])
    assert say(player, PROMPTS.render(TASK, START, done[:1], [experience])) == "Action: go in"
    right = PROMPTS.render_reflection(TASK, START, steps(*WAY[:2]))
    assert json.loads(say(player, right, purpose="reflect"))["step"] is None
    refined = json.loads(
        say(player, PROMPTS.render_refinement(TASK, START, done), purpose="refine")
    )
    assert set(refined) == {"experience"}


def test_it_refuses_unknown_tasks() -> None:
    with pytest.raises(PolicyError, match="knows no walkthrough"):
        say(Follower({"Bake a cake": WAY}), PROMPTS.render(TASK, START, []))
