"""An environment and a policy that wait, for `overlap.py`; in a module that both versions load."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import gymnasium as gym

import leafe_gym as lg

TURNS = 20
STEP = 0.05
POLICY = 0.05


class Waits(gym.Env[str, str]):
    """Counts its steps, each of which waits; over after `TURNS`."""

    observation_space = action_space = lg.TextSpace()
    count = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.count = 0
        return "0", {"admissible_commands": ["on"]}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        time.sleep(STEP)
        self.count += 1
        return str(self.count), 0.0, self.count == TURNS, False, {"won": False}

    def get_state(self) -> int:
        return self.count

    def set_state(self, state: int) -> None:
        self.count = state


async def waiting_policy(messages: object, sampling: object) -> str:
    """Acts after a while."""
    await asyncio.sleep(POLICY)
    return "Action: on"


gym.register("bench/Waits-v0", Waits)


class Computes(Waits):
    """The same, but a step computes for 5 ms."""

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Keep a core busy."""
        end = time.thread_time() + 0.005
        while time.thread_time() < end:
            pass
        self.count += 1
        return str(self.count), 0.0, self.count == TURNS, False, {"won": False}


gym.register("bench/Computes-v0", Computes)
