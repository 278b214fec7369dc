"""Writes docs/_site/transcripts.json: the first turns of one real episode of each environment.

python docs/_site/transcripts.py [ID ...]     needs the extras of the environments and Java

Jericho is left out: a story file of its own is needed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym

import leafe_gym  # noqa: F401 - registers the environments

TARGET = Path(__file__).with_name("transcripts.json")
EPISODES: Mapping[str, tuple[Mapping[str, Any], Sequence[str] | int]] = {
    "leafe/Sokoban-v0": ({"size": 6, "boxes": 1}, ("up", "left")),
    "leafe/FrozenLake-v0": ({}, ("down", "right")),
    "leafe/Taxi-v0": ({}, ("south", "east")),
    "leafe/CliffWalking-v0": ({}, ("up", "right")),
    "leafe/Blackjack-v0": ({}, ("hit", "stick")),
    "leafe/TextArena-v0": ({}, ("[up]", "[left]")),
    "leafe/Gem-v0": ({}, ("\\boxed{up}", "\\boxed{left}")),
    "leafe/ReasoningGym-v0": ({"dataset": "countdown"}, ("1 + 2",)),
    "leafe/TextWorldExpress-v0": ({"game": "coin", "params": {"numLocations": 3}}, 3),
    "leafe/TextWorld-v0": ({"rooms": 3, "objects": 5, "quest_length": 3}, 3),
    "leafe/ALFWorld-v0": ({"games": "generated"}, 3),
    "leafe/ScienceWorld-v0": ({"task": "find-plant", "variation": 0, "admissible": False}, 3),
    "leafe/WebShop-v0": ({}, 3),
    "leafe/CodeContests-v0": ({"split": "train"}, ("print(sum(map(int, input().split())))",)),
    "leafe/MBPP-v0": ({"split": "train"}, ("def mean(xs):\n    return sum(xs) / len(xs)",)),
    "leafe/PythonREPL-v0": ({"kind": "inbox", "goal": 1}, ("len(inbox)", "inbox.take()")),
}
"""Environment -> arguments, and its actions or how many of its walkthrough."""
LONGEST = 700
"""Longest text of one turn, in characters."""


def transcript(env_id: str) -> str:
    """The instruction, the first observation and some turns."""
    kwargs, actions = EPISODES[env_id]
    env = gym.make(env_id, **kwargs, disable_env_checker=True)
    observation, info = env.reset(seed=1)
    parts = [shorten(info.get("instruction", "")), shorten(observation)]
    if isinstance(actions, int):
        actions = env.unwrapped.walkthrough()[:actions]  # type: ignore[attr-defined]
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action)
        parts.append("> " + action.replace("\n", "\n> "))
        parts.append(f"{shorten(observation)}\n(reward {float(reward):g})")
        if terminated or truncated:
            break
    env.close()
    return "\n\n".join(part for part in parts if part)


def shorten(text: str) -> str:
    """A text for the page, without what would end its block."""
    text = "\n".join(line.rstrip() for line in text.strip().replace("```", "'''").splitlines())
    return text if len(text) <= LONGEST else text[:LONGEST].rstrip() + "\n[...]"


def main(*env_ids: str) -> None:
    """Play the episodes of these environments, by default of all."""
    earlier = json.loads(TARGET.read_text("utf-8")) if TARGET.exists() else {}
    written = earlier | {env_id: transcript(env_id) for env_id in env_ids or EPISODES}
    TARGET.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
