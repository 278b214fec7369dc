"""An exploration in containers whose engine is killed during the run.

python docker_child.py FOLDER PATIENCE
"""

from __future__ import annotations

import sys

import leafe_gym as lg
from leafe_gym.policies.coder import coder
from leafe_gym.sandbox.docker import docker_client


def explore(folder: str) -> lg.Run:
    """A tree for a function, with its mistakes, by a coder who fails often."""
    agent = lg.ReflectiveTreeAgent(
        coder(fails=0.9, kinds=("wrong", "crash", "partial")), reflect_every=None, prompts="code"
    )
    tasks = lg.tasks("leafe/MBPP-v0", "all", sandbox="docker-commit")[1:2]
    return lg.explore(agent, tasks, budget=lg.Budget(calls=8), out=folder, concurrency=1, seed=6)


if __name__ == "__main__":
    docker_client.PATIENCE_S = float(sys.argv[2])
    explore(sys.argv[1]).close()
