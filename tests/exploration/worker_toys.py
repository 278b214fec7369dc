"""Environments and policies for tests of workers; imported by worker processes too."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from typing import Any

import gymnasium as gym

import leafe_gym as lg
from leafe_gym.errors import PolicyUnavailable
from leafe_gym.types import Completion, Message, Sampling


class Counter(gym.Env[str, str]):
    """Say "up" until a hidden number is reached, then "done"."""

    observation_space = action_space = lg.TextSpace()

    def __init__(self, wait: float = 0.0, deadly: str = "", refuses: bool = False) -> None:
        if refuses:
            raise RuntimeError("this machine lacks what the environment needs: install it")
        self.wait, self.deadly = wait, deadly

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.goal, self.count = int(self.np_random.integers(1, 4)), 0
        return f"Count to {self.goal}.", {"instruction": "Count, then say done."}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        time.sleep(self.wait)
        if self.deadly and os.environ.get("LEAFE_TEST_DRIVER") != str(os.getpid()):
            if action == self.deadly and "worker_process" in " ".join(os.sys.argv + ["-c"]):
                os._exit(3)
        self.count += action == "up"
        won = action == "done" and self.count == self.goal
        return f"At {self.count}.", float(won), action == "done", False, {"won": won}

    def get_state(self) -> tuple[int, int]:
        return self.goal, self.count

    def set_state(self, state: tuple[int, int]) -> None:
        self.goal, self.count = state
