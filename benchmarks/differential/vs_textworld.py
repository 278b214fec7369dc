"""`leafe/TextWorld-v0` against TextWorld's own environment.

    python benchmarks/differential/vs_textworld.py [--games FOLDER]

Games are the `.z8` files of `--games` (each with its `.json`), or generated ones. Compared are
observation, points, commands, victory and end. Of the original's text, prompt, status line and
closing menu are left out, as the environment does not show them. Half of the episodes follow the
game's walkthrough; the rest are random commands, one in ten of which the game does not list.
"""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import textworld
from _compare import Counts, Fields, Side, files, installed, options, report

from leafe_gym.envs.textworld.env import TextWorldEnv

_PROMPT = re.compile(r"\n+>.*\Z", re.DOTALL)
_MENU = re.compile(r"\s*Would you like to RESTART.*\Z", re.DOTALL)
NONSENSE = ("look", "inventory", "take moon", "sing", "examine", "go nowhere", "LOOK", "xyzzy")


def shown(text: str) -> str:
    """A text without prompt and closing menu."""
    return _MENU.sub("", _PROMPT.sub("", text.rstrip())).strip()


def ours(env: TextWorldEnv, seed: int) -> Side:
    """This package's episode."""
    points = 0.0

    def start() -> Fields:
        text, info = env.reset(seed=seed)
        return {"opening": text, "commands": sorted(info["admissible_commands"])}

    def step(action: str) -> Fields:
        nonlocal points
        text, reward, over, _, info = env.step(action)
        points += reward
        told = {"text": text, "points": points, "won": info["won"], "over": over}
        return {**told, "commands": sorted(info.get("admissible_commands", ()))}

    return Side(start, step)


def theirs(path: str) -> Side:
    """The original's episode."""
    infos = textworld.EnvInfos(
        admissible_commands=True, score=True, won=True, lost=True, objective=True
    )
    game = textworld.start(path, infos)
    game.seed(1)

    def commands(state: Any) -> list[str]:
        return sorted(state.admissible_commands or ())

    def start() -> Fields:
        state = game.reset()
        text = state.feedback.partition(state.objective)[2] if state.objective else state.feedback
        return {"opening": shown(text), "commands": commands(state)}

    def step(action: str) -> Fields:
        state, _, _ = game.step(action)
        over = bool(state.won or state.lost)
        told = {"text": shown(state.feedback), "points": float(state.score), "over": over}
        return {**told, "won": bool(state.won), "commands": commands(state)}

    return Side(start, step)


def main() -> None:
    """Play."""
    args = options(__doc__ or "", "", games="folder of .z8 games").parse_args()
    counts = Counts()
    paths: list[Path | None] = [None] * args.episodes
    if args.games:
        paths = [one for one in files(args.games, ".z8") if one.with_suffix(".json").is_file()]
    for number, path in enumerate(paths[: args.episodes]):
        env = TextWorldEnv(data=path, max_steps=None)
        env.reset(seed=number)
        plan = iter(env.walkthrough() if number % 2 else [])

        def choose(rng: random.Random, now: Fields, plan: Any = plan) -> str:
            listed = now["commands"]
            other = NONSENSE if rng.random() < 0.1 or not listed else listed
            return next(plan, None) or rng.choice(other)

        name = path.name if path else f"generated {number}"
        counts.play(name, ours(env, number), theirs(env.path), choose, args.steps, args.seed)
        env.close()
    report(counts, args, installed("textworld", "jericho"))


if __name__ == "__main__":
    main()
