"""An environment and policies for tests of workers; worker processes import this module."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from typing import Any

import gymnasium as gym

import leafe_gym as lg
from leafe_gym.errors import PolicyUnavailable
from leafe_gym.types import Completion, Message, Sampling


class Counter(gym.Env[str, str]):
    """Count to a number, then say done; "die" ends the process that the environment lives in."""

    observation_space = action_space = lg.TextSpace()

    def __init__(self, wait: float = 0.0, refuses: bool = False) -> None:
        if refuses:
            raise RuntimeError("no counter is installed on this machine")
        self.wait = wait

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.goal, self.count = int(self.np_random.integers(1, 4)), 0
        return f"Count to {self.goal}.", {"instruction": "Count, then say done."}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        if action == "die":
            os._exit(3)
        time.sleep(self.wait)
        self.count += action == "up"
        won = action == "done" and self.count == self.goal
        return f"At {self.count}.", float(won), action == "done", False, {"won": won}

    def get_state(self) -> tuple[int, int]:
        return self.goal, self.count

    def set_state(self, state: tuple[int, int]) -> None:
        self.goal, self.count = state


def counting(messages: Sequence[Message], sampling: Sampling) -> Completion:
    """Counts, and forgets when to stop in a way that depends on the seed."""
    if sampling.purpose != "act":
        return Completion(text='{"step": 0, "experience": "Count more carefully."}')
    at = re.findall(r"At (\d)", messages[-1]["content"])
    done = at and sampling.seed % 3 == 0
    return Completion(text="Action: done" if done else "Action: up")


def deadly(messages: Sequence[Message], sampling: Sampling) -> Completion:
    """Likewise; in tasks with the goal 3 it ends the process."""
    if "Count to 3" in str(messages):
        return Completion(text="Action: die")
    return counting(messages, sampling)


def unreachable(messages: Sequence[Message], sampling: Sampling) -> Completion:
    """Nothing answers."""
    raise PolicyUnavailable("the server at http://nowhere is down: start it")


class CountingPolicy:
    """`counting` as a policy that goes along with the agent; counts its own tokens."""

    name = "counting"
    portable = True

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        return counting(messages, sampling)

    def tokenize(self, messages: Sequence[Message], completion: str) -> tuple[list[int], int]:
        prompt = [ord(c) for m in messages for c in m["content"]]
        return prompt + [ord(c) for c in completion], len(prompt)


class StayingPolicy(CountingPolicy):
    """The same, but it stays in the driver."""

    portable = False
