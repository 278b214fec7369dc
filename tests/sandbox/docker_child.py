"""An exploration in containers whose engine is killed during the run.

python docker_child.py FOLDER PATIENCE
"""

from __future__ import annotations

import sys

import leafe_gym as lg
from leafe_gym.sandbox.docker import docker_client
from leafe_gym.testing.players.coder import coder


def explore(folder: str) -> lg.RunReader:
    """A tree for a function, with its mistakes, by a coder who fails often."""
    agent = lg.ReflectiveTreeAgent(
        coder(fails=0.9, kinds=("wrong", "crash", "partial")),
        lg.AgentConfig(reflect_every=None, prompts="code"),
    )
    tasks = lg.tasks("leafe/MBPP-v0", "all", sandbox="docker-commit")[1:2]
    return lg.explore(
        agent,
        tasks,
        budget=lg.Budget(interactions=8),
        out=folder,
        concurrency=1,
        config=lg.ExploreConfig(seed=6),
    )


if __name__ == "__main__":
    docker_client.PATIENCE_S = float(sys.argv[2])
    explore(sys.argv[1]).close()
