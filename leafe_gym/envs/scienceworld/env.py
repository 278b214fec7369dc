"""The Gymnasium environment `leafe/ScienceWorld-v0`."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from leafe_gym.arguments import true_or_false
from leafe_gym.envs.scienceworld.game_pool import GameHandle, release_held
from leafe_gym.envs.scienceworld.interpreter import History, Interpreter
from leafe_gym.envs.scienceworld.jvm import LIBRARY
from leafe_gym.envs.scienceworld.refusals import refusal
from leafe_gym.envs.scienceworld.task_catalogue import (
    TASKS,
    VARIATIONS,
    Scenario,
    simplified,
    task_of,
    variations,
)
from leafe_gym.envs.scienceworld.tasks import list_tasks
from leafe_gym.envs.text_env import Opening, StepOutcome, TextEnv
from leafe_gym.errors import EnvironmentFailure, UsageError
from leafe_gym.types import Json, Task

_LONGEST = 500
"""Longest action passed to the simulator, in characters."""


class ScienceWorldState(NamedTuple):
    """The state of an episode except `np_random`; plain values, valid in any process.

    Attributes:
        steps: steps taken.
        over: whether the episode has ended.
        shown: the last observation.
        points: -100 to 100.
        scenario: what is played.
        history: the actions taken, with hashes of the answers.
    """

    steps: int
    over: bool
    shown: str
    points: int
    scenario: Scenario
    history: History


class ScienceWorldEnv(TextEnv):
    """An elementary science task in a house with ten locations.

    The reward is the change of the points, which range from 0 to 100; focusing on the wrong object
    fails the task: its points become -100, as in the library, and the episode ends. `score` is
    points / 100, at least 0; at reset it is what the start itself gives (8 points in find-plant and
    three similar tasks, 20 in mix-paint). `feedback` is the simulator's answer to an action that it
    refuses. The first episode of a process takes 10 to 40 s, because Java starts.

    A restore replays the actions, without listing `admissible_commands`, in a game that is already
    at an earlier state of the same history where there is one; each answer is compared. `hold`
    does this in advance.

    Args:
        task: name ("boil") or number in the paper ("1-1"); None: chosen by the seed.
        variation: number of the variation; None: chosen by the seed.
        simplifications: "easy", or comma-separated names; see `task_catalogue.SIMPLIFICATIONS`.
        split: only variations of "train", "val" or "test"; None for all.
        admissible: list `admissible_commands`: 100 to 2,000 commands, 30 ms or more per step.
        max_steps: see `TextEnv`; 100 is ScienceWorld's own.
        render_mode: see `TextEnv`.

    Raises:
        MissingExtra: if ScienceWorld is not installed.
        UsageError: if an argument cannot be used or Java is missing.
    """

    one_of = ("variation",)

    def __init__(
        self,
        task: str | None = None,
        variation: int | None = None,
        simplifications: str | Sequence[str] = "easy",
        split: str | None = None,
        admissible: bool = True,
        max_steps: int | None = 100,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(max_steps, render_mode)
        self._task = None if task is None else task_of(task)
        self._simplifications = simplified(simplifications, self._task)
        variations(TASKS[0], split)
        self._split = split
        self._variation = self._checked(variation)
        self.admissible = true_or_false("admissible", admissible)
        LIBRARY.check()
        self._scenario: Scenario | None = None
        self._history: History = ()
        self._points = 0
        self._commands: tuple[str, ...] | None = None
        self._handle = GameHandle()
        weakref.finalize(self, self._handle.close_later)

    @classmethod
    def tasks(cls, split: str = "train", **kwargs: Json) -> Sequence[Task]:
        """The variations of a split; see `leafe_gym.envs.scienceworld.tasks`."""
        return list_tasks(split, kwargs)

    @property
    def scenario(self) -> Scenario:
        """The task and variation that is being played.

        Raises:
            ResetNeeded: before the first reset.
        """
        return self._started(self._scenario)

    def walkthrough(self) -> list[str]:
        """The simulator's own solution from the start; takes 1 to 20 s the first time.

        Raises:
            ResetNeeded: before the first reset.
            EnvironmentFailure: if the simulator finds none.
        """
        return list(_gold(self.scenario))

    def actions(self) -> list[str]:
        """See `TextEnv.actions`; computed once per state."""
        if self._commands is None:
            self._commands = tuple(self._game().commands()) if self.admissible else ()
        return list(self._commands)

    def hold(self, state: ScienceWorldState | None = None) -> None:
        """Pre-position a game at a state, so that the next restore of that state costs nothing.

        Does the work of a restore in advance, for example in a thread while a model generates. The
        game takes about 0.3 MB in the Java process. The first restore of the state uses it;
        releasing the snapshot frees it.

        Args:
            state: from `get_state`; None for the current one.

        Raises:
            ResetNeeded: before the first reset.
            RestoreMismatch: if the same actions now give other answers.
        """
        state = self.get_state() if state is None else state
        self._handle.pool().hold(state.scenario, state.history)

    def get_state(self) -> ScienceWorldState:
        """The state of the episode except `np_random`.

        Raises:
            ResetNeeded: before the first reset.
        """
        return ScienceWorldState(
            self._steps,
            self._over,
            self._shown,
            self._points,
            self.scenario,
            self._history,
        )

    def set_state(self, state: ScienceWorldState) -> None:
        """Restore a state that `get_state` returned, here or in another process.

        Raises:
            RestoreMismatch: if the same actions now give other answers.
            EnvironmentFailure: if the simulator fails.
        """
        self._handle.restore(state.scenario, state.history)
        self._steps, self._over, self._shown = state.steps, state.over, state.shown
        self._points, self._commands = state.points, None
        self._scenario, self._history = state.scenario, state.history

    @staticmethod  # so that a saved state, which names it, can be pickled
    def release_state(state: ScienceWorldState) -> None:
        """Release the games that are held at this state."""
        release_held(state.scenario, state.history)

    def close(self) -> None:
        """Leave the Java process, which ends with its last environment."""
        super().close()
        self._handle.close()

    def _checked(self, variation: int | None) -> int | None:
        if variation is None:
            return None
        if self._task is None:
            raise UsageError(f"variation={variation!r} needs task= as well")
        known = variations(self._task, self._split)
        if type(variation) is not int or variation not in known:
            place = f"{self._task}, split {self._split}," if self._split else self._task
            raise UsageError(
                f"variation={variation!r}: {place} has {known.start} to {known.stop - 1}"
            )
        return variation

    def begin(self, seed: int | None, options: Mapping[str, Any]) -> Opening:
        """See `TextEnv.begin`."""
        self._scenario = self._choose()
        observation = self._handle.begin(self._scenario)
        game = self._game()
        # Some tasks give points for where the agent is at the start; no action earned them.
        self._history, self._points, self._commands = game.history, game.points, None
        task, forms = game.about()
        instruction = f"{task}\nActions: {', '.join(forms)}."
        return Opening(observation, instruction, max(0.0, self._points / 100))

    def _choose(self) -> Scenario:
        names = [self._task] if self._task else list(VARIATIONS)
        name = names[int(self.np_random.integers(len(names)))]
        known = variations(name, self._split)
        number = known[int(self.np_random.integers(len(known)))]
        chosen = number if self._variation is None else self._variation
        return Scenario(name, chosen, self._simplifications)

    def play(self, action: str) -> StepOutcome:
        """See `TextEnv.play`."""
        game = self._game()
        before = self._points
        try:
            answer = game.step(_clean(action))
            self._points = game.points
            self._commands = None
            self.actions()
        except BaseException:
            self._handle.invalidate()
            raise
        self._history = game.history
        return StepOutcome(
            observation=answer,
            reward=float(self._points - before),
            terminated=game.over or self._points < 0,
            won=self._points >= 100,
            score=max(0.0, self._points / 100),
            feedback=refusal(answer),
        )

    def _game(self) -> Interpreter:
        game = self._handle.game
        if game is None:
            raise EnvironmentFailure("the game is lost; reset() or restore() starts a new one")
        return game


def _clean(action: str) -> str:
    """One line of at most `_LONGEST` characters that can be encoded."""
    encodable = action.encode("utf-8", "replace").decode("utf-8")
    return " ".join(encodable.replace("\0", " ").split())[:_LONGEST]


@cache
def _gold(scenario: Scenario) -> tuple[str, ...]:
    handle = GameHandle()
    try:
        game = handle.pool().new()
        path = tuple(game.gold(scenario))
        game.discard()
    finally:
        handle.close()
    if not path:
        raise EnvironmentFailure(
            f"ScienceWorld has no solution of {scenario}; use another variation"
        )
    return path
