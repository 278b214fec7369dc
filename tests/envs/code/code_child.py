"""An exploration of code problems that another process kills.

python code_child.py contests|functions FOLDER [PROBLEMS]
"""

from __future__ import annotations

import sys

from code_kinds import OPTIONS

import leafe_gym as lg
from leafe_gym.policies.coder import coder

KINDS = {"contests": ("leafe/CodeContests-v0", 8), "functions": ("leafe/MBPP-v0", 6)}
"""Environment, and a seed with which mistakes are made and recovered from."""


def explore(kind: str, folder: str, problems: str | None) -> lg.Run:
    """A tree for each of two problems, by a coder who fails often."""
    env_id, seed = KINDS[kind]
    where = {} if problems is None else {"problems": problems}
    agent = lg.ReflectiveTreeAgent(
        coder(fails=0.9, kinds=("wrong", "crash", "partial")), reflect_every=None, prompts="code"
    )
    return lg.explore(
        agent,
        lg.tasks(env_id, "all", **where, **OPTIONS)[:2],
        budget=lg.Budget(calls=16),
        out=folder,
        concurrency=2,
        seed=seed,
    )


if __name__ == "__main__":
    explore(sys.argv[1], sys.argv[2], *(sys.argv[3:] or [None])).close()
