"""A puzzle of two actions, and explorations of it through a server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
from model_server import REFLECT_TOKENS

import leafe_gym as lg
from leafe_gym.policies.openai import OpenAIPolicy

CONFIG = lg.AgentConfig(
    max_tokens=40, max_reflect_tokens=REFLECT_TOKENS, attempts_per_root=3, top_p=0.9, top_k=7,
    prompts="chat",
)  # fmt: skip
SECRET = "sk-very-secret-0123"


class Two(gym.Env[str, str]):
    """Won with "a", then "b"."""

    def __init__(self) -> None:
        self.observation_space = self.action_space = lg.TextSpace()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.trail = ""
        return "trail=", {"instruction": f"Open the lock {seed}."}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.trail += action[:1]
        won = self.trail == "ab"
        return f"trail={self.trail}", float(won), len(self.trail) > 1, False, {"won": won}

    def get_state(self) -> str:
        return self.trail

    def set_state(self, state: str) -> None:
        self.trail = state


gym.register("http/Two-v0", Two)


def tasks(count: int) -> list[lg.Task]:
    return [lg.Task(id=f"t/{n}", env_id="http/Two-v0", seed=n) for n in range(count)]


def explore(
    urls: str | Sequence[str],
    folder: Path,
    count: int = 2,
    concurrency: int = 2,
    progress: Callable[..., Any] | None = None,
    **options: Any,
) -> lg.RunReader:
    """Explore some tasks with the model "m" that is served there."""
    policy = OpenAIPolicy("m", urls, **{"tries": 2, "api_key": SECRET, **options})
    agent = lg.ReflectiveTreeAgent(policy, CONFIG)
    return lg.explore(
        agent, tasks(count), budget=lg.Budget(interactions=12), out=folder,
        concurrency=concurrency, progress=progress,
    )  # fmt: skip
