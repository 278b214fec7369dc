"""`leafe/Jericho-v0` against Jericho's own interpreter.

    python benchmarks/differential/vs_jericho.py --stories FOLDER

`--stories` is a folder of story files, such as those of Jericho's game suite. Each is played twice:
along its walkthrough where Jericho has one, and with random commands. Compared are observation,
points, victory and end; prompt, status line and closing menu are left out.
"""

from __future__ import annotations

import random
import sys
from typing import Any

import jericho
from _compare import Counts, Fields, Side, files, installed, options, report
from vs_textworld import shown

from leafe_gym.envs.textworld.commands import outside
from leafe_gym.envs.textworld.jericho import JerichoEnv
from leafe_gym.errors import UsageError

ENDINGS = (".z3", ".z4", ".z5", ".z8")
VERBS = ("take", "open", "examine", "drop", "push", "read", "enter", "look under")
ALONE = ("look", "inventory", "north", "south", "east", "west", "up", "down", "wait", "in", "out")


def ours(env: JerichoEnv, seed: int) -> Side:
    """This package's episode."""
    points = 0.0

    def start() -> Fields:
        return {"text": env.reset(seed=seed)[0]}

    def step(action: str) -> Fields:
        nonlocal points
        text, reward, over, _, info = env.step(action)
        points += reward
        return {"text": text, "gained": points, "won": info["won"], "over": over}

    return Side(start, step)


def theirs(path: str, seed: int) -> Side:
    """The original's episode."""
    game = jericho.FrotzEnv(path, seed)
    first = 0

    def start() -> Fields:
        nonlocal first
        text, info = game.reset()
        first = info["score"]
        return {"text": shown(text)}

    def step(action: str) -> Fields:
        text, _, over, info = game.step(action)
        told: dict[str, Any] = {"text": shown(text)}
        if game.is_fully_supported:
            told["gained"] = float(info["score"] - first)
            told["won"], told["over"] = bool(game.victory()), bool(over)
        return told

    return Side(start, step)


def main() -> None:
    """Play."""
    args = options(__doc__ or "", "", stories="folder of story files").parse_args()
    if args.stories is None:
        sys.exit("--stories is missing: give a folder of story files")
    counts = Counts()
    for number, path in enumerate(files(args.stories, *ENDINGS)[: args.episodes]):
        try:
            env = JerichoEnv(path, max_steps=None)
            env.reset(seed=number + 1)
        except UsageError as error:
            counts.numbers["stories_not_playable"] += 1
            sys.stderr.write(f"{path.name}: {error}\n")
            continue
        counts.numbers["stories"] += 1
        words = [str(one) for one in jericho.FrotzEnv(str(path)).get_dictionary()]
        for way, plan in (("walkthrough", env.walkthrough()), ("random", [])):
            if way == "walkthrough" and not plan:
                continue
            moves = iter([one for one in plan if not outside(one)] if len(plan) else [])

            def choose(
                rng: random.Random,
                _: Fields,
                moves: Any = moves,
                words: Any = words,
                way: str = way,
            ) -> str | None:
                if way == "walkthrough":
                    return next(moves, None)
                if rng.random() < 0.4:
                    return rng.choice(ALONE)
                said = f"{rng.choice(VERBS)} {rng.choice(words)}"
                return "look" if outside(said) else said

            counts.play(
                f"{path.name} {way}", ours(env, number + 1), theirs(str(path), number + 1),
                choose, args.steps, args.seed,
            )  # fmt: skip
        env.close()
    report(counts, args, installed("jericho"))


if __name__ == "__main__":
    main()
