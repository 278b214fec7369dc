"""5,000 branches held at once: memory, and the engine's own time a step.

Attempts that wait for the policy all at the same time, each with its own environment at its own
state; the policy answers when all 5,000 have asked.
"""

from __future__ import annotations

import asyncio
import resource
import tempfile
import time
from collections.abc import Sequence

from _harness import Report, main

import leafe_gym as lg
from leafe_gym.types import Completion, Message, Sampling

BRANCHES = 5_000
STEPS = 6
SPARE = 500
"""Attempts beyond the 5,000, for those that win before their last call."""


class Gate:
    """A policy that answers an attempt's last call only when (nearly) all attempts wait there."""

    name = "gate"

    def __init__(self, width: int) -> None:
        self.width = width
        self.waiting = 0
        self.open = asyncio.Event()

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """A move; a few attempts win before the last call, so the gate does not wait for all."""
        if sum(message["role"] == "assistant" for message in messages) == STEPS - 1:
            self.waiting += 1
            if self.waiting >= self.width:
                self.open.set()
            await self.open.wait()
        return Completion(text=f"Action: {('up', 'left', 'down', 'right')[sampling.seed % 4]}")


def measure() -> Report:
    """Explore 5,000 tasks side by side."""
    before = peak_mb()
    tasks = lg.tasks("leafe/Sokoban-v0", split="train", size=6, boxes=1, max_steps=STEPS)[
        : BRANCHES + SPARE
    ]
    with tempfile.TemporaryDirectory() as folder:
        gate, steps, seconds = asyncio.run(explore(tasks, folder))
    return Report(
        figures={
            "branches_at_once": gate.waiting,
            "peak_mb": peak_mb(),
            "peak_mb_before": before,
            "engine_ms_a_step": 1e3 * seconds / steps,
            "steps": steps,
        },
        goals={
            "branches_at_once": (">=", BRANCHES),
            "peak_mb": ("<=", 1024),
            "engine_ms_a_step": ("<=", 2),
        },
        meta={
            "samples": steps,
            "step": "prompt, parsing, environment, snapshot, ledger, store: all but the policy",
            "includes": "making and proving environments and the first reset",
        },
    )


async def explore(tasks: Sequence[lg.Task], folder: str) -> tuple[Gate, int, float]:
    """Explore; the gate, the environment steps and the seconds."""
    gate = Gate(BRANCHES)
    agent = lg.ReflectiveTreeAgent(gate, lg.AgentConfig(reflect_every=None, max_depth=0))
    began = time.perf_counter()
    run = await lg.aexplore(
        agent, tasks, budget=lg.Budget(interactions=2 * STEPS), out=folder, concurrency=len(tasks)
    )
    seconds = time.perf_counter() - began
    with run:
        steps = sum(result["spent"]["steps"] for _, result in run.results())
    return gate, steps, seconds


def peak_mb() -> float:
    """The most memory this process ever held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main(measure)
