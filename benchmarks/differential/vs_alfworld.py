"""`leafe/ALFWorld-v0` against ALFWorld's own wrappers of TextWorld.

    python benchmarks/differential/vs_alfworld.py [--games FOLDER]

`--games` is a folder with `game.tw-pddl` files, such as `json_2.1.1/valid_unseen`; without it games
of all six types are generated in the same format. Half of the episodes follow the planner's
solution, the rest are random commands, one in ten of which the game does not list. Compared are
observation, commands, victory and end.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import textworld  # type: ignore[import-untyped]
from _compare import Counts, Fields, Side, files, installed, options, report

from leafe_gym.envs.alfworld.env import ALFWorldEnv
from leafe_gym.envs.alfworld.game_file import FILE
from leafe_gym.envs.alfworld.generate import generate
from leafe_gym.envs.alfworld.official_files import write_game
from leafe_gym.envs.alfworld.room_tables import TASK_TYPES
from leafe_gym.errors import UsageError

NONSENSE = ("look", "inventory", "go to moon 1", "take nothing", "sing", "open", "help")


def ours(env: ALFWorldEnv) -> Side:
    """This package's episode."""

    def start() -> Fields:
        text, info = env.reset(seed=0)
        return {"text": text, "commands": sorted(info["admissible_commands"])}

    def step(action: str) -> Fields:
        text, _, over, _, info = env.step(action)
        told = {"text": text, "won": info["won"], "over": over}
        return {**told, "commands": sorted(info.get("admissible_commands", ()))}

    return Side(start, step)


def theirs(path: str) -> Side:
    """The original's episode."""
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler, AlfredInfos

    infos = textworld.EnvInfos(won=True, admissible_commands=True)
    game = textworld.start(path, infos, [AlfredDemangler(shuffle=False), AlfredInfos])

    def start() -> Fields:
        state = game.reset()
        text = state.feedback.partition("Your task is to:")[0].rpartition("=-")[2].strip()
        return {"text": text, "commands": sorted(state.admissible_commands)}

    def step(action: str) -> Fields:
        state, _, done = game.step(action)
        told = {"text": state.feedback.strip(), "won": bool(state.won), "over": bool(done)}
        return {**told, "commands": sorted(state.admissible_commands)}

    return Side(start, step)


def main() -> None:
    """Play."""
    args = options(__doc__ or "", "", games="folder of game.tw-pddl files").parse_args()
    counts = Counts()
    with tempfile.TemporaryDirectory() as made:
        if args.games is None:
            for number in range(args.episodes):
                layout = generate(args.seed + number, [TASK_TYPES[number % len(TASK_TYPES)]])
                write_game(layout, Path(made))
        paths = files(args.games or Path(made), FILE)
        for number, path in enumerate(paths[: args.episodes]):
            try:
                env = ALFWorldEnv(trial=str(path), max_steps=None)
                env.reset(seed=0)
                plan = iter(env.walkthrough() if number % 2 else [])
            except UsageError:
                counts.numbers["games_not_playable"] += 1
                continue

            def choose(rng: random.Random, now: Fields, plan: Any = plan) -> str:
                other = NONSENSE if rng.random() < 0.1 else now["commands"]
                return next(plan, None) or rng.choice(other)

            name = path.parent.parent.name
            counts.play(name, ours(env), theirs(str(path)), choose, args.steps, args.seed)
            env.close()
    report(counts, args, installed("alfworld", "textworld"))


if __name__ == "__main__":
    main()
