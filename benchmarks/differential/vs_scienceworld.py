"""`leafe/ScienceWorld-v0` against ScienceWorld's own environment.

    python benchmarks/differential/vs_scienceworld.py

Task and variation change from episode to episode. Half of the episodes follow the simulator's
solution; the rest are random commands of those that it lists. Compared are observation, commands,
reward, points and end. The simulator lists things in another order after another number of resets,
also without this package, so observations are compared as words without their order. Needs Java;
the commands of a step take 30 ms or more on each side.
"""

from __future__ import annotations

import random
import re
from typing import Any

from _compare import Counts, Fields, Side, installed, options, report
from scienceworld import ScienceWorldEnv as Original  # type: ignore[attr-defined]

from leafe_gym.envs.scienceworld.env import ScienceWorldEnv
from leafe_gym.envs.scienceworld.task_catalogue import VARIATIONS

LISTED = 12
"""Commands are compared in every so many steps."""


def words(text: str) -> str:
    """The words of a text, sorted."""
    return " ".join(sorted(re.findall(r"[\w'-]+", text)))


def ours(env: ScienceWorldEnv) -> Side:
    """This package's episode."""

    def start() -> Fields:
        text, info = env.reset(seed=0)
        return {"text": words(text), "commands": sorted(info["admissible_commands"])}

    def step(action: str) -> Fields:
        text, reward, over, _, info = env.step(action)
        told = {"text": words(text), "reward": reward, "over": over, "won": info["won"]}
        return {**told, "commands": sorted(info.get("admissible_commands", ()))}

    return Side(start, step)


def theirs(env: Any, task: str, variation: int) -> Side:
    """The original's episode."""
    points = 0
    taken = 0

    def commands() -> list[str]:
        return sorted(set(env.get_valid_action_object_combinations()))

    def start() -> Fields:
        nonlocal points
        env.load(task, variation, "easy")
        text, info = env.reset()
        points = info["score"]
        return {"text": words(text), "commands": commands()}

    def step(action: str) -> Fields:
        nonlocal points, taken
        taken += 1
        text, _, over, info = env.step(action)
        gained, points = info["score"] - points, info["score"]
        told = {"text": words(text), "reward": float(gained), "over": over, "won": points >= 100}
        return told if taken % LISTED else {**told, "commands": commands()}

    return Side(start, step)


def main() -> None:
    """Play."""
    args = options(__doc__ or "", "").parse_args()
    counts = Counts()
    rng = random.Random(args.seed)
    names = sorted(VARIATIONS)
    original = Original("", envStepLimit=args.steps + 1)
    opened = []  # a Java process ends with its last environment
    for number in range(args.episodes):
        task = names[(number // 2) % len(names)]
        variation = rng.randrange(VARIATIONS[task])
        env = ScienceWorldEnv(task, variation, max_steps=None)
        env.reset(seed=0)
        opened.append(env)
        plan = iter(env.walkthrough() if number % 2 else [])

        def choose(rng: random.Random, now: Fields, plan: Any = plan) -> str:
            return next(plan, None) or rng.choice(now["commands"] or ["look around"])

        counts.play(
            f"{task} {variation} {number}", ours(env), theirs(original, task, variation),
            choose, args.steps, args.seed,
        )  # fmt: skip
    for env in opened:
        env.close()
    original.close()
    report(counts, args, installed("scienceworld"))


if __name__ == "__main__":
    main()
