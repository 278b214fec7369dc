"""`leafe/Sokoban-v0` against the step function of gym-sokoban, on levels of Boxoban.

    python benchmarks/differential/vs_sokoban.py --original gym-sokoban --levels boxoban-levels

`--original` is a checkout of https://github.com/mpSchrader/gym-sokoban, `--levels` a file or folder
of https://github.com/google-deepmind/boxoban-levels. Compared are board, reward and end; a fifth of
the episodes follow a solution. The original needs numpy only: pictures are not drawn.
"""

from __future__ import annotations

import importlib
import random
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
from _compare import Counts, Fields, Side, commit_of, files, options, report

from leafe_gym.envs.sokoban.boxoban import read_levels
from leafe_gym.envs.sokoban.env import SokobanEnv
from leafe_gym.envs.sokoban.solver import SolverLimit

PUSHES = {"up": 1, "down": 2, "left": 3, "right": 4}
CELLS = {"#": (0, 0), "-": (1, 1), ".": (2, 2), "@": (1, 5), "$": (1, 4), "+": (2, 5), "*": (2, 3)}
"""Cell -> (fixed, state) in the original."""

SYMBOLS = {pair: cell for cell, pair in CELLS.items()}
NODES = 20_000
MISSING = ("gym", "gym.utils", "gym.spaces", "gym.spaces.discrete", "imageio", "pkg_resources")
"""What the original imports and its step function does not need."""


class _Anything(types.ModuleType):
    """A module of which every attribute is a class without behaviour."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {"__init__": lambda self, *_, **__: None})


def original_class(checkout: Path) -> Any:
    """`SokobanEnv` of the checkout, without the packages that it draws with."""
    for name in MISSING:
        try:
            importlib.import_module(name)
        except ImportError:
            sys.modules[name] = _Anything(name)
    for name, folder in (("gym_sokoban", ""), ("gym_sokoban.envs", "envs")):
        package = sys.modules[name] = types.ModuleType(name)
        package.__path__ = [str(checkout / "gym_sokoban" / folder)]
    return importlib.import_module("gym_sokoban.envs.sokoban_env").SokobanEnv


class Original:
    """An episode of the original on a given board."""

    def __init__(self, kind: Any, board: str, max_steps: int) -> None:
        rows = [[CELLS[cell] for cell in row] for row in board.splitlines()]
        cells = np.array(rows)
        self._env = kind(cells.shape[:2], max_steps, board.count("$"), reset=False)
        self._env.render = lambda *_, **__: None
        self._env.room_fixed, self._env.room_state = cells[..., 0].copy(), cells[..., 1].copy()
        self._env.player_position = np.argwhere(self._env.room_state == 5)[0]
        self._env.num_env_steps = self._env.reward_last = self._env.boxes_on_target = 0

    def start(self) -> Fields:
        """The board."""
        return {"board": self._board()}

    def step(self, action: str) -> Fields:
        """Push or move."""
        _, reward, over, info = self._env.step(PUSHES[action])
        won = bool(info.get("all_boxes_on_target"))
        return {"board": self._board(), "reward": round(reward, 6), "won": won, "over": over}

    def _board(self) -> str:
        pairs = zip(self._env.room_fixed, self._env.room_state, strict=True)
        return "\n".join(
            "".join(SYMBOLS[int(a), int(b)] for a, b in zip(*rows, strict=True)) for rows in pairs
        )


def ours(env: SokobanEnv, board: str) -> Side:
    """This package's episode on a given board."""

    def step(action: str) -> Fields:
        text, reward, won, truncated, _ = env.step(action)
        return {"board": text, "reward": round(reward, 6), "won": won, "over": won or truncated}

    return Side(lambda: {"board": env.reset(options={"board": board})[0]}, step)


def main() -> None:
    """Play."""
    given = options(__doc__ or "", "checkout of gym-sokoban", levels="level file or folder")
    args = given.parse_args()
    kind = original_class(args.original)
    levels = [
        board.text for path in files(args.levels, ".txt") for board in read_levels(path).boards
    ]
    chosen = random.Random(args.seed).sample(levels, min(args.episodes, len(levels)))
    counts, env = Counts(), SokobanEnv(max_steps=120)
    for number, board in enumerate(chosen):
        plan: list[str] = []
        if number % 5 == 0:
            env.reset(options={"board": board})
            try:
                plan = env.solve(optimal=False, limit=NODES) or []
            except SolverLimit:
                counts.numbers["unsolved_within_the_limit"] += 1
        moves = iter(plan)
        counts.play(
            f"level {number}",
            ours(env, board),
            (lambda one: Side(one.start, one.step))(Original(kind, board, 120)),
            lambda rng, _, moves=moves: next(moves, None) or rng.choice(list(PUSHES)),
            args.steps,
            args.seed,
        )
    counts.numbers["levels_read"] = len(levels)
    report(counts, args, {"gym-sokoban": commit_of(args.original)})


if __name__ == "__main__":
    main()
