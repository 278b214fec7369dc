"""Plays with ScienceWorld's own environment; prints what came of each action as one JSON line."""

from __future__ import annotations

import json
import sys

from scienceworld import ScienceWorldEnv


def main(task: str, variation: int, simplifications: str, actions: list[str]) -> None:
    """The start, then observation, reward and end of each action."""
    env = ScienceWorldEnv()
    env.load(task, variation, simplifications)
    observation, info = env.reset()
    told: list[object] = [[observation, info["valid"]]]
    for action in actions:
        said, reward, done, _ = env.step(action)
        told.append([said, reward, done])
    env.close()
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))
