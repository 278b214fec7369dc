"""Sixty turns of ScienceWorld and of WebShop in a window of 4,096 tokens."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import pytest
from java_games import need_java, quick_java

import leafe_gym as lg
from leafe_gym.budget import Budget
from leafe_gym.errors import ContextFull
from leafe_gym.prompts.fitting import FULL
from leafe_gym.types import Completion, Message, Sampling

WINDOW, TURNS = 4096, 60
LISTED = re.compile(r"possible now: (.*)$", re.MULTILINE)
BETWEEN = re.compile(r", (?=click\[|search\[)|, (?![^\[]*\])")
"""Between listed commands; a button's label may hold a comma."""

ENDS = re.compile(r"^focus on|buy now", re.IGNORECASE)


def count(messages: Sequence[Message]) -> int:
    return sum(len(message["content"]) // 4 + 5 for message in messages)


class Wanderer:
    """Takes a listed command at random, none that ends an episode; refuses what does not fit."""

    name = "wanderer"
    context_window = WINDOW

    def __init__(self) -> None:
        self.longest = self.reflections = 0

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return count(messages)

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        if count(messages) + sampling.max_tokens > WINDOW:
            raise ContextFull(f"{count(messages)} tokens are too many")
        self.longest = max(self.longest, count(messages))
        if sampling.purpose != "act":
            self.reflections += 1
            return Completion(text='{"reason": "r", "step": 2, "experience": "Look elsewhere."}')
        listed = LISTED.findall(messages[-1]["content"])
        commands = [one for one in BETWEEN.split(listed[-1]) if not ENDS.search(one)]
        chosen = random.Random(sampling.seed).choice(commands)
        thought = (
            "I have not found what the task asks for yet, so I try what is possible here. " * 3
        )
        return Completion(text=f"{thought}\nAction: {chosen}")


def played(env_id: str, **kwargs: Any) -> tuple[Wanderer, lg.Tree]:
    wanderer = Wanderer()
    agent = lg.ReflectiveTreeAgent(wanderer, lg.AgentConfig(reflect_every=25, max_depth=2))
    env = lg.RollbackWrapper(gym.make(env_id, max_steps=TURNS, **kwargs), "native")
    try:
        return wanderer, agent.run(env, budget=Budget(model_calls=160), seed=3, stop="budget")
    finally:
        env.close()


def fits_and_goes_on(wanderer: Wanderer, tree: lg.Tree) -> None:
    endings = [branch.ending for branch in tree.branches]
    assert set(endings) <= {"won", "failed", "budget"}, endings
    paths = [tree.history(branch.id) for branch in tree.branches]
    assert max(map(len, paths)) == TURNS, "an episode was played to its last turn"
    assert any(step.fit != FULL for path in paths for step in path), "its prompts were cut"
    assert wanderer.reflections >= 2
    assert not any(one.verdict == "error" for b in tree.branches for one in b.reflections)
    assert 0.5 * WINDOW < wanderer.longest < WINDOW


@pytest.mark.jvm
def test_scienceworld() -> None:
    need_java()
    with quick_java():
        fits_and_goes_on(*played("leafe/ScienceWorld-v0", task="boil", variation=0))


def test_webshop() -> None:
    pytest.importorskip("bm25s", reason="pip install 'leafe-gym[webshop]'")
    fits_and_goes_on(*played("leafe/WebShop-v0"))
