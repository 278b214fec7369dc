"""The Gymnasium environment `leafe/Sokoban-v0`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import gymnasium as gym

from leafe_gym.envs.sokoban import feedback
from leafe_gym.envs.sokoban.boxoban import read_levels
from leafe_gym.envs.sokoban.config import Config
from leafe_gym.envs.sokoban.levels import generate
from leafe_gym.envs.sokoban.parse import parse_board
from leafe_gym.envs.sokoban.rules import ACTIONS, STEP_REWARD, Board, move, offsets, reward_of
from leafe_gym.envs.sokoban.solver import NODE_LIMIT, distance, solve
from leafe_gym.envs.sokoban.tasks import list_tasks
from leafe_gym.envs.space import TextSpace
from leafe_gym.errors import ResetNeeded, UsageError
from leafe_gym.types import Info, Json, Task

_INSTRUCTION = (
    "Push every box ($) onto a target (.). You are @. # is a wall, - is floor, * is a box on a "
    "target, + is you on a target. You push a box by walking into it; you cannot pull, and you "
    "cannot push a box into a wall or into another box. "
    "Actions: up, down, left, right. You have {max_steps} steps."
)

State = tuple[bytes, int]
"""The rows of the board joined by newlines, and the steps taken."""


class SokobanEnv(gym.Env[str, str]):
    r"""Sokoban; the observation is the board, an action one of four words.

    Rewards: -0.1 each step, +1 for a box pushed onto a target, -1 for one pushed off, +10 when
    all are on targets, which ends the episode. An action that is none of the four words costs the
    step. Every step's `info` has `won`, `score` (boxes on targets / boxes), `feedback` (what was
    wrong with the action, "" when nothing was) and `admissible_commands`.

    Example:
        >>> env = SokobanEnv()
        >>> _ = env.reset(options={"board": "#####\n#@$.#\n#####"})
        >>> env.step("right")[:4]
        ('#####\n#-@*#\n#####', 10.9, True, False)

    Args:
        size: rows and columns with the outer walls, or one number for both; 3 to 50.
        boxes: boxes, and targets, of generated levels; >= 1.
        max_steps: steps after which an episode is truncated; >= 1.
        inner_walls: fewest and most walls inside; default a tenth to a quarter of the inside.
        pulls: pulls away from the targets in the making of a level; default 10 for each box. More
            make longer solutions.
        levels: level file to play instead of generated levels; see `boxoban`. `size`, `boxes`,
            `inner_walls`, `pulls` and `solution` then do not apply.
        level: number of the one level of the file to play, from 0; default a random one.
        split: play levels of this split only.
        solution: fewest and most actions of a shortest solution of generated levels; default any.
            Each candidate is solved, so this is for small boards.
        render_mode: "ansi" makes `render` return the board.

    Raises:
        UsageError: if an argument cannot be used; `BadLevel` for a malformed file.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": ["ansi"],
        "render_fps": 4,
        "inline_steps": True,
    }

    def __init__(
        self,
        size: int | Sequence[int] = (7, 7),
        boxes: int = 2,
        max_steps: int = 120,
        inner_walls: Sequence[int] | None = None,
        pulls: int | None = None,
        levels: str | os.PathLike[str] | None = None,
        level: int | None = None,
        split: str | None = None,
        solution: Sequence[int] | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.config = Config.of(
            size=size,
            boxes=boxes,
            max_steps=max_steps,
            inner_walls=inner_walls,
            pulls=pulls,
            levels=levels,
            level=level,
            split=split,
            solution=solution,
        )
        if render_mode not in (None, "ansi"):
            raise UsageError(f"render_mode={render_mode!r}: use 'ansi' or None")
        self.render_mode = render_mode
        self.observation_space = TextSpace()
        self.action_space = TextSpace()
        self._board: Board | None = None
        self._steps = 0
        self._over = False

    @classmethod
    def tasks(cls, split: str = "train", **kwargs: Json) -> Sequence[Task]:
        """The tasks of a split, built when asked for; see `leafe_gym.envs.sokoban.tasks`."""
        return list_tasks(split, kwargs)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, Info]:
        """Begin a level.

        Args:
            seed: seed of the level; the same seed gives the same level everywhere.
            options: `{"board": text}` begins with that board instead.

        Raises:
            UsageError: if an option is unknown, or no level fits the constructor's arguments.
        """
        super().reset(seed=seed)
        options = options or {}
        if unknown := options.keys() - {"board"}:
            raise UsageError(f"unknown reset options {sorted(unknown)}; the only one is 'board'")
        board = parse_board(options["board"]) if "board" in options else self._draw()
        self._begin(board, 0)
        info: Info = {
            "instruction": _INSTRUCTION.format(max_steps=self.config.max_steps),
            "won": False,
            "score": board.placed / self._boxes,
            "admissible_commands": list(ACTIONS),
        }
        return board.text, info

    def step(self, action: str) -> tuple[str, float, bool, bool, Info]:
        """Try to go one cell in a direction.

        Raises:
            ResetNeeded: if no episode is running.
            UsageError: if the action is no string.
        """
        if not isinstance(action, str):
            raise UsageError(f"action {action!r}: give a string, one of {', '.join(ACTIONS)}")
        before = self._board
        if before is None or self._over:
            raise ResetNeeded("no episode is running; call reset() before step()")
        self._steps += 1
        word = action if action in self._offsets else action.strip().casefold()
        offset = self._offsets.get(word)
        if offset is None:
            after, reward, remark = before, STEP_REWARD, feedback.unknown(action)
        else:
            after = self._board = move(before, offset)
            reward = reward_of(before, after)
            if after is before:
                remark = feedback.blocked(before, word)
            else:
                remark = feedback.moved(before, after, word)
        won = after.won
        truncated = not won and self._steps >= self.config.max_steps
        self._over = won or truncated
        info: Info = {
            "won": won,
            "score": after.placed / self._boxes,
            "feedback": remark,
            "admissible_commands": list(ACTIONS),
        }
        return after.text, reward, won, truncated, info

    def render(self) -> str | None:
        """The board as text where `render_mode` is "ansi"; None otherwise."""
        return self.board.text if self.render_mode == "ansi" else None

    @property
    def board(self) -> Board:
        """The present position.

        Raises:
            ResetNeeded: if no episode was begun.
        """
        if self._board is None:
            raise ResetNeeded("no episode was begun; call reset() first")
        return self._board

    def get_state(self) -> State:
        """All of the episode but `np_random`: the board and the steps taken.

        Raises:
            ResetNeeded: if no episode was begun.
        """
        return self.board.cells, self._steps

    def set_state(self, state: State) -> None:
        """Go to a state that `get_state` of an environment made alike returned."""
        cells, steps = state
        self._begin(Board.of(cells), steps)

    def distance(self, limit: int = NODE_LIMIT) -> int | None:
        """Fewest actions that win from here, the step limit aside; None when nothing can.

        Raises:
            SolverLimit: if more than `limit` nodes would have to be looked at.
        """
        return distance(self.board, limit=limit)

    def steps_left(self) -> int:
        """Steps until the episode is cut; 0 to `max_steps`."""
        return self.config.max_steps - self._steps

    def solve(self, *, optimal: bool = True, limit: int = NODE_LIMIT) -> list[str] | None:
        """Actions that win from here, the step limit aside; see `solver.solve`."""
        return solve(self.board, optimal=optimal, limit=limit)

    def _begin(self, board: Board, steps: int) -> None:
        self._board = board
        self._steps = steps
        self._boxes = board.boxes
        self._offsets = offsets(board.width)
        self._over = board.won or steps >= self.config.max_steps

    def _draw(self) -> Board:
        """The next level: of the file where there is one, else a new one."""
        config = self.config
        if config.levels is None:
            return generate(config.shape, self.np_random, config.split)
        file = read_levels(config.levels)
        if config.level is not None:
            return file.boards[config.level]
        choice = file.indices(config.split)
        return file.boards[choice[int(self.np_random.integers(len(choice)))]]
