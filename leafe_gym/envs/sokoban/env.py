"""The Gymnasium environment `leafe/Sokoban-v0`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from leafe_gym.envs.display import TextGrid
from leafe_gym.envs.sokoban import feedback
from leafe_gym.envs.sokoban.board_text import find_grid
from leafe_gym.envs.sokoban.config import SokobanConfig, level_file
from leafe_gym.envs.sokoban.levels import generate
from leafe_gym.envs.sokoban.parse import parse_board
from leafe_gym.envs.sokoban.rules import ACTIONS, STEP_REWARD, Board, move, offsets, reward_of
from leafe_gym.envs.sokoban.solver import NODE_LIMIT, distance, solve
from leafe_gym.envs.sokoban.tasks import list_tasks
from leafe_gym.envs.text_env import Opening, StepOutcome, TextEnv
from leafe_gym.types import Json, Task

_INSTRUCTION = (
    "Push every box ($) onto a target (.). You are @. # is a wall, - is floor, * is a box on a "
    "target, + is you on a target. You push a box by walking into it; you cannot pull, and you "
    "cannot push a box into a wall or into another box. "
    "Actions: up, down, left, right. You have {max_steps} steps."
)

SokobanState = tuple[bytes, int]
"""The rows of the board joined by newlines, and the steps taken."""


class SokobanEnv(TextEnv):
    r"""Sokoban; the observation is the board, an action one of four words.

    Rewards: -0.1 each step, +1 for a box pushed onto a target, -1 for one pushed off, +10 when
    all are on targets, which ends the episode. An action that is not one of the four words costs a
    step and changes nothing. Every step's `info` has `won`, `score` (boxes on targets / boxes),
    `feedback` (what was wrong with the action; "" if nothing was) and `admissible_commands`.

    Example:
        >>> env = SokobanEnv()
        >>> _ = env.reset(options={"board": "#####\n#@$.#\n#####"})
        >>> env.step("right")[:4]
        ('#####\n#-@*#\n#####', 10.9, True, False)

    Args:
        size: rows and columns with the outer walls, or one number for both; 3 to 50.
        boxes: boxes, and targets, of generated levels; >= 1.
        max_steps: steps after which an episode is truncated; >= 1.
        inner_walls: minimum and maximum number of walls inside; default 10 % to 25 % of the inside.
        pulls: pulls away from the targets when a level is generated; default 10 per box. More pulls
            give longer solutions.
        data: level file to play instead of generated levels, see `boxoban`; a relative path is also
            looked up in `LEAFE_DATA`. `size`, `boxes`, `inner_walls`, `pulls` and `solution` then
            do not apply.
        level: index of the only level of the file to play, from 0; default a random one.
        split: play only levels of this split.
        solution: minimum and maximum length of a shortest solution; default any. For generated
            levels. Each candidate is solved, so use this for small boards only.
        levels: older name of `data`.
        render_mode: "ansi" makes `render` return the board.

    Raises:
        UsageError: if an argument cannot be used; `BadLevel` for a malformed file.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        **TextEnv.metadata,
        "inline_steps": True,
        "prompts": "chat",
    }
    one_of = ("level",)
    reset_options = ("board",)
    action_form = f"a string, one of {', '.join(ACTIONS)}"
    keymap: ClassVar[Mapping[str, str]] = {"w": "up", "s": "down", "a": "left", "d": "right"}

    def __init__(
        self,
        size: int | Sequence[int] = (7, 7),
        boxes: int = 2,
        max_steps: int = 120,
        inner_walls: Sequence[int] | None = None,
        pulls: int | None = None,
        data: str | os.PathLike[str] | None = None,
        level: int | None = None,
        split: str | None = None,
        solution: Sequence[int] | None = None,
        render_mode: str | None = None,
        levels: str | os.PathLike[str] | None = None,
    ) -> None:
        self.config = SokobanConfig.of(
            size=size,
            boxes=boxes,
            max_steps=max_steps,
            inner_walls=inner_walls,
            pulls=pulls,
            data=data,
            levels=levels,
            level=level,
            split=split,
            solution=solution,
        )
        super().__init__(self.config.max_steps, render_mode)
        self._board: Board | None = None

    @classmethod
    def tasks(cls, split: str = "train", **kwargs: Json) -> Sequence[Task]:
        """The tasks of a split, built when asked for; see `leafe_gym.envs.sokoban.tasks`."""
        return list_tasks(split, kwargs)

    @staticmethod
    def render_text(text: str) -> TextGrid | None:
        """The last board in a text; see `leafe_gym.envs.display`."""
        return find_grid(text)

    def begin(self, seed: int | None, options: Mapping[str, Any]) -> Opening:
        """Take the board of the options, else the level of the seed."""
        board = parse_board(options["board"]) if "board" in options else self._draw()
        self._enter(board)
        instruction = _INSTRUCTION.format(max_steps=self.max_steps)
        return Opening(board.text, instruction, board.placed / self._boxes)

    def play(self, action: str) -> StepOutcome:
        """Try to move one cell."""
        before = self._board
        assert before is not None
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
        return StepOutcome(after.text, reward, won, False, won, after.placed / self._boxes, remark)

    def actions(self) -> list[str]:
        """The four words, whether or not they change something."""
        return list(ACTIONS)

    @property
    def board(self) -> Board:
        """The current position.

        Raises:
            ResetNeeded: before the first reset.
        """
        return self._started(self._board)

    def get_state(self) -> SokobanState:
        """The state of the episode except `np_random`: the board and the steps taken.

        Raises:
            ResetNeeded: before the first reset.
        """
        return self.board.cells, self._steps

    def set_state(self, state: SokobanState) -> None:
        """Restore a state that `get_state` of an equally configured environment returned."""
        cells, self._steps = state
        board = Board.of(cells)
        self._enter(board)
        self._shown = board.text
        self._over = board.won or self._steps >= self.config.max_steps

    def distance(self, limit: int = NODE_LIMIT) -> int | None:
        """Length of a shortest solution from here, ignoring the step limit; None if unsolvable.

        Raises:
            SolverLimit: if more than `limit` nodes would have to be expanded.
        """
        return distance(self.board, limit=limit)

    def steps_left(self) -> int:
        """Steps until the episode is truncated; 0 to `max_steps`."""
        return self.config.max_steps - self._steps

    def solve(self, *, optimal: bool = True, limit: int = NODE_LIMIT) -> list[str] | None:
        """Actions that solve the level from here, ignoring the step limit; see `solver.solve`."""
        return solve(self.board, optimal=optimal, limit=limit)

    def _enter(self, board: Board) -> None:
        self._board, self._boxes = board, board.boxes
        self._offsets = offsets(board.width)

    def _draw(self) -> Board:
        """The next level: from the file if there is one, otherwise a generated one."""
        config = self.config
        if config.data is None:
            return generate(config.shape, self.np_random, config.split)
        file = level_file(config.data)
        if config.level is not None:
            return file.boards[config.level]
        choice = file.indices(config.split)
        return file.boards[choice[int(self.np_random.integers(len(choice)))]]
