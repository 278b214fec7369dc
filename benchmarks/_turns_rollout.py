"""Turns, the ledger and commit: an environment and a policy that cost next to nothing.

`turn_400_vs_10`: CPU time of a turn in episodes of 400 turns / in episodes of 10 (independent
sampling; resets included). `turn_us_200`: microseconds of CPU a turn in episodes of 200, beside a
fixed loop on the same machine (`reference_loop_us`). `task_mb_200`: largest memory traced while one
task of 2,000 turns in episodes of 200 with observations of 1 kB runs. `stall_ms_400`: longest time
that charging an attempt of 400 turns holds the event loop, and only that, so a slow machine or
another process does not count as a hold where the loop was not ours.
"""

from __future__ import annotations

import asyncio
import time
import tracemalloc
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
from _harness import Report, alternate, median, ratio

import leafe_gym as lg
from leafe_gym.agents import accounting, task_runner
from leafe_gym.budget import Budget
from leafe_gym.types import Completion, Message, Sampling

TURNS = 4_000
LOOP = 10_000


class Corridor(gym.Env[str, str]):
    """An episode of so many steps, with observations of so many characters."""

    observation_space = action_space = lg.TextSpace()

    def __init__(self, steps: int, length: int = 100) -> None:
        self.steps, self.length, self.at = steps, length, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[str, dict[str, Any]]:
        """See `gymnasium.Env.reset`."""
        super().reset(seed=seed)
        self.at = 0
        return self._text(), {"instruction": "Walk."}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """See `gymnasium.Env.step`."""
        self.at += 1
        return self._text(), 0.0, self.at >= self.steps, False, {"won": False}

    def _text(self) -> str:
        return f"Place {self.at}.".ljust(self.length, ".")

    def get_state(self) -> int:
        """The place."""
        return self.at

    def set_state(self, state: int) -> None:
        """Go to a place."""
        self.at = state


class Walker:
    """Always walks."""

    name = "walker"

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """See `Policy.complete`."""
        return Completion(text="I walk on.\nAction: walk")


def measure() -> Report:
    """All figures of this part."""
    times = alternate(
        {"400": lambda: _turn(400), "10": lambda: _turn(10), "200": lambda: _turn(200)}
    )
    return Report(
        figures={
            "turn_400_vs_10": ratio(times["400"], times["10"]),
            "turn_us_200": median(times["200"]) * 1e6,
            "reference_loop_us": median([_loop() for _ in range(9)]) * 1e6,
            "task_mb_200": _memory(),
            "stall_ms_400": max(_stalls(400)) * 1e3,
        },
        goals={
            "turn_400_vs_10": ("<=", 1.3),
            "task_mb_200": ("<=", 20),
            "stall_ms_400": ("<=", 5),
        },
        meta={"turns": TURNS, "reference_loop": f"sum(i * i for i in range({LOOP:,}))"},
    )


def _explore(steps: int, turns: int, length: int = 100) -> None:
    env = lg.RollbackWrapper(Corridor(steps, length), backend="native", probe_actions=["walk"])
    agent = lg.IndependentSamplingAgent(Walker())
    agent.run(env, budget=Budget(model_calls=turns), stop="budget")


def _turn(steps: int) -> float:
    """Seconds of CPU a turn."""
    began = time.process_time()
    _explore(steps, TURNS)
    return (time.process_time() - began) / TURNS


def _loop() -> float:
    began = time.process_time()
    sum(i * i for i in range(LOOP))
    return time.process_time() - began


def _memory() -> float:
    """Megabytes that one task holds at most."""
    _explore(200, 200, 1_000)
    tracemalloc.start()
    _explore(200, 2_000, 1_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def _stalls(steps: int) -> list[float]:
    """Seconds of CPU between the places where a commit lets the loop go on."""
    holds: list[float] = []
    commit = task_runner.TaskRunner._commit
    sleep = asyncio.sleep
    began = 0.0

    def held() -> None:
        nonlocal began
        now = time.thread_time()
        holds.append(now - began)
        began = now

    async def pause(delay: float, result: Any = None) -> Any:
        nonlocal began
        held()
        try:
            return await sleep(delay, result)
        finally:
            began = time.thread_time()

    async def timed(*arguments: Any) -> Any:
        nonlocal began
        began = time.thread_time()
        try:
            return await commit(*arguments)
        finally:
            held()

    task_runner.TaskRunner._commit = timed  # type: ignore[method-assign, assignment]
    accounting.asyncio.sleep = pause  # type: ignore[assignment]
    try:
        _explore(steps, 20 * steps)
    finally:
        task_runner.TaskRunner._commit = commit  # type: ignore[method-assign]
        accounting.asyncio.sleep = sleep
    return holds
