"""A run that another process kills: an exploration with a policy that takes its time.

python crash_child.py FOLDER CONCURRENCY
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

import leafe_gym as lg
from leafe_gym.testing.players.sokoban import SokobanPlayer


class SlowPlayer(SokobanPlayer):
    """The scripted player, slowed down so that kills land inside attempts too."""

    async def complete(
        self, messages: Sequence[lg.Message], sampling: lg.Sampling
    ) -> lg.Completion:
        await asyncio.sleep(0.0002 * (sampling.seed % 4))
        return await super().complete(messages, sampling)


def explore(folder: str, concurrency: int) -> lg.RunReader:
    """The exploration under test."""
    kwargs = {"size": 6, "boxes": 2, "max_steps": 20}
    return lg.explore(
        lg.ReflectiveTreeAgent(SlowPlayer(), lg.AgentConfig(reflect_every=5)),
        lg.tasks("leafe/Sokoban-v0", split="train", **kwargs)[:6],
        budget=lg.Budget(interactions=200),
        out=folder,
        concurrency=concurrency,
        config=lg.ExploreConfig(seed=3),
    )


if __name__ == "__main__":
    explore(sys.argv[1], int(sys.argv[2])).close()
