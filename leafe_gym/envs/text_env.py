"""The base of text environments: what every one of them checks and counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, TypeVar

import gymnasium as gym

from leafe_gym._process_guard import ProcessGuard
from leafe_gym.arguments import shown, whole_number
from leafe_gym.envs.arguments import check_render_mode, check_reset
from leafe_gym.envs.space import TextSpace
from leafe_gym.errors import ResetNeeded, UsageError
from leafe_gym.types import Info, Json

_Value = TypeVar("_Value")


class Opening(NamedTuple):
    """How an episode begins.

    Attributes:
        observation: the first one.
        instruction: what is asked for.
        score: share of the goal that is reached at the start, 0 to 1.
    """

    observation: str
    instruction: str
    score: float = 0.0


class StepOutcome(NamedTuple):
    """The outcome of one action.

    Attributes:
        observation: text.
        reward: of this step only.
        terminated: the episode ended, won or lost.
        truncated: the game reached a limit of its own.
        won: the goal was reached.
        score: share of the goal, 0 to 1.
        feedback: what was wrong with the action; "" if nothing was.
    """

    observation: str
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False
    won: bool = False
    score: float = 0.0
    feedback: str = ""


class TextEnv(gym.Env[str, str]):
    """A text environment; a subclass has `begin` and `play`, and may have `actions`.

    `reset` and `step` refuse wrong arguments, count steps, truncate at `max_steps` and fill `info`.
    A subclass that saves states keeps `_steps`, `_over` and `_shown` in them. An action that raises
    an error counts no step; a `begin` that raises leaves no episode running.

    Args:
        max_steps: steps after which an episode is truncated, >= 1; None for no such limit.
        render_mode: "ansi" makes `render` return the last observation.

    Raises:
        UsageError: if an argument cannot be used.

    Example:
        >>> class Door(TextEnv):
        ...     def begin(self, seed, options):
        ...         return Opening("A closed door.", "Go through the door.")
        ...     def play(self, action):
        ...         done = action == "open"
        ...         return StepOutcome(f"Open: {done}.", reward=done, terminated=done, won=done)
        >>> env = Door(max_steps=9)
        >>> env.reset(seed=0)[0], env.step("open")[:4]
        ('A closed door.', ('Open: True.', 1.0, True, False))
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": ["ansi"],
        "render_fps": 4,
        "prompts": "react",
    }

    one_of: ClassVar[tuple[str, ...]] = ()
    """Arguments that select one task each."""

    reset_options: ClassVar[tuple[str, ...]] = ()
    """Names of the options of `reset`."""

    action_form: ClassVar[str] = "a string"
    """What an action is, for the message about one that is something else."""

    process_bound: ClassVar[str] = ""
    """What the instance is called if only the first process that uses it may, and if it cannot be
    pickled; "" for all others."""

    def __init__(self, max_steps: int | None = None, render_mode: str | None = None) -> None:
        if max_steps is not None:
            whole_number("max_steps", max_steps, 1)
        check_render_mode(render_mode)
        self.max_steps = max_steps
        self.render_mode = render_mode
        self.observation_space = TextSpace()
        self.action_space = TextSpace()
        self._steps = 0
        self._over = True
        self._shown = ""
        self._guard: ProcessGuard | None = None

    @classmethod
    def selects_one(cls, kwargs: Mapping[str, Json]) -> bool:
        """Whether arguments leave one task; see `leafe_gym.envs.tasks.one_task`."""
        return any(kwargs.get(name) is not None for name in cls.one_of)

    def begin(self, seed: int | None, options: Mapping[str, Any]) -> Opening:
        """Start an episode; `self.np_random` has been seeded.

        Args:
            seed: as given to `reset`, checked.
            options: as given to `reset`; its keys are some of `reset_options`.
        """
        raise NotImplementedError

    def play(self, action: str) -> StepOutcome:
        """Take one action of a running episode."""
        raise NotImplementedError

    def actions(self) -> list[str]:
        """Actions that are possible now; empty if they are not listed."""
        return []

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, Info]:
        """Start an episode; equal seeds give equal episodes on all machines.

        Raises:
            UsageError: if the seed is not an int >= 0, or an option is unknown or wrong.
            ForkedUse: after a fork, in the child, if the environment belongs to one process.
        """
        self._bind()
        given = check_reset(seed, options, self.reset_options)
        super().reset(seed=seed)
        self._over = True
        opening = self.begin(seed, given)
        self._steps, self._over, self._shown = 0, False, opening.observation
        info: Info = {"instruction": opening.instruction, "won": False, "score": opening.score}
        if actions := self.actions():
            info["admissible_commands"] = actions
        return opening.observation, info

    def step(self, action: str) -> tuple[str, float, bool, bool, Info]:
        """Take one action.

        Raises:
            ResetNeeded: if no episode is running.
            UsageError: if the action is not a string.
            ForkedUse: after a fork, in the child, if the environment belongs to one process.
        """
        if not isinstance(action, str):
            raise UsageError(f"action {shown(action)}: give {self.action_form}")
        if self.process_bound:
            self._bind()
        if self._over:
            raise ResetNeeded("no episode is running; call reset() before step()")
        observation, reward, ended, cut, won, score, feedback = self.play(action)
        self._steps = steps = self._steps + 1
        if not ended and self.max_steps is not None and steps >= self.max_steps:
            cut = True
        self._over, self._shown = ended or cut, observation
        info: Info = {"won": won, "score": score, "feedback": feedback}
        if actions := self.actions():
            info["admissible_commands"] = actions
        return observation, float(reward), ended, cut and not ended, info

    def render(self) -> str | None:
        """The last observation where `render_mode` is "ansi"; None otherwise."""
        return self._shown if self.render_mode == "ansi" else None

    def close(self) -> None:
        """End the episode; `reset` starts another."""
        self._over, self._guard = True, None
        super().close()

    def __getstate__(self) -> object:
        if self.process_bound:
            raise TypeError(f"{self.process_bound} cannot be pickled; use get_state()")
        return super().__getstate__()

    def _bind(self) -> None:
        """Bind the environment to the first process that uses it; raise `ForkedUse` in another."""
        if self.process_bound:
            if self._guard is None:
                self._guard = ProcessGuard(self.process_bound)
            self._guard.check()

    def _started(self, value: _Value | None) -> _Value:
        """The value of an attribute that the first reset sets.

        Raises:
            ResetNeeded: if it is None.
        """
        if value is None:
            raise ResetNeeded("no episode is running; call reset() first")
        return value
