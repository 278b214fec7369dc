"""What environments made of other libraries' games share."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from leafe_gym.envs.space import TextSpace
from leafe_gym.errors import ResetNeeded, UsageError
from leafe_gym.types import Info


class Opening(NamedTuple):
    """What an episode begins with."""

    observation: str
    instruction: str


class Outcome(NamedTuple):
    """What came of one action.

    Attributes:
        observation: text.
        reward: of this step alone.
        terminated: the game ended, won or lost.
        truncated: the game was cut by a limit of its own.
        won: the goal was reached.
        score: 0 to 1, how much of the goal.
        feedback: what was wrong with the action; "" when nothing was.
    """

    observation: str
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False
    won: bool = False
    score: float = 0.0
    feedback: str = ""


_METADATA: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 4}


class AdaptedGame(gym.Env[str, str]):
    """A game of another library; subclasses fill in `_begin` and `_play`.

    Args:
        max_steps: steps after which an episode is truncated, >= 1; None for the game's own limit.
        render_mode: "ansi" makes `render` return the last observation.

    Raises:
        UsageError: if an argument cannot be used.
    """

    metadata: dict[str, Any] = dict(_METADATA)  # noqa: RUF012

    def __init__(self, max_steps: int | None, render_mode: str | None) -> None:
        if max_steps is not None and (type(max_steps) is not int or max_steps < 1):
            raise UsageError(f"max_steps={max_steps!r}: use a whole number >= 1, or None")
        if render_mode not in (None, "ansi"):
            raise UsageError(f"render_mode={render_mode!r}: use 'ansi' or None")
        self.max_steps = max_steps
        self.render_mode = render_mode
        self.observation_space = TextSpace()
        self.action_space = TextSpace()
        self._steps = 0
        self._over = True
        self._shown = ""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, Info]:
        """Begin an episode; the same seed begins the same one everywhere.

        Raises:
            UsageError: if there are options; no adapted game has any.
        """
        if options:
            raise UsageError(f"unknown reset options {sorted(options)}; there are none")
        super().reset(seed=seed)
        opening = self._begin(seed)
        self._steps, self._over, self._shown = 0, False, opening.observation
        info: Info = {"instruction": opening.instruction, "won": False, "score": 0.0}
        return opening.observation, info | self._admissible()

    def step(self, action: str) -> tuple[str, float, bool, bool, Info]:
        """Take one action.

        Raises:
            ResetNeeded: if no episode is running.
            UsageError: if the action is no string.
        """
        if not isinstance(action, str):
            raise UsageError(f"action {action!r}: give a string")
        if self._over:
            raise ResetNeeded("no episode is running; call reset() before step()")
        self._steps += 1
        outcome = self._play(action)
        late = self.max_steps is not None and self._steps >= self.max_steps
        truncated = not outcome.terminated and (outcome.truncated or late)
        self._over = outcome.terminated or truncated
        self._shown = outcome.observation
        info: Info = {
            "won": outcome.won,
            "score": outcome.score,
            "feedback": outcome.feedback,
        }
        return (
            outcome.observation,
            float(outcome.reward),
            outcome.terminated,
            truncated,
            info | self._admissible(),
        )

    def render(self) -> str | None:
        """The last observation where `render_mode` is "ansi"; None otherwise."""
        return self._shown if self.render_mode == "ansi" else None

    def actions(self) -> list[str]:
        """Words that can be played now; empty where the game does not list them."""
        return []

    def _admissible(self) -> Info:
        actions = self.actions()
        return {"admissible_commands": actions} if actions else {}

    def _begin(self, seed: int | None) -> Opening:
        """Begin an episode; `self.np_random` has been seeded."""
        raise NotImplementedError

    def _play(self, action: str) -> Outcome:
        """Take one action."""
        raise NotImplementedError


class GlobalLuckGame(AdaptedGame):
    """A game that draws from `random` and `numpy.random`; what goes back in it takes care of both.

    A plain copy of such a game goes on otherwise than the original.
    """

    metadata: dict[str, Any] = {**_METADATA, "global_rng": True}  # noqa: RUF012

    def _seed_luck(self, seed: int | None) -> int:
        """Seed both generators; gives the seed, drawn from `self.np_random` where there is none."""
        number = int(self.np_random.integers(2**32)) if seed is None else seed
        random.seed(number)
        np.random.seed(number % 2**32)
        return number
