"""An exploration of code problems that another process kills.

python code_child.py FOLDER CONTESTS
"""

from __future__ import annotations

import sys

import leafe_gym as lg
from leafe_gym.testing.players.coder import coder

SEED = 6
"""Seed with which mistakes are made and recovered from in both environments."""


def explore(folder: str, contests: str) -> lg.RunReader:
    """A tree for a program and one for a function, by a coder who fails often."""
    agent = lg.ReflectiveTreeAgent(
        coder(fails=0.9, kinds=("wrong", "crash", "partial")),
        lg.AgentConfig(reflect_every=None, prompts="code"),
    )
    tasks = [
        lg.tasks("leafe/CodeContests-v0", "all", problems=contests)[1],
        lg.tasks("leafe/MBPP-v0", "all")[1],
    ]
    budget = lg.Budget(interactions=18)
    return lg.explore(
        agent, tasks, budget=budget, out=folder, concurrency=2, config=lg.ExploreConfig(seed=SEED)
    )


if __name__ == "__main__":
    explore(*sys.argv[1:]).close()
