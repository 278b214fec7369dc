"""The Gymnasium environment `leafe/ScienceWorld-v0`."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from leafe_gym.envs.adapters.base import AdaptedGame, Opening, Outcome
from leafe_gym.envs.scienceworld.catalogue import (
    TASKS,
    VARIATIONS,
    Episode,
    simplified,
    task_of,
    variations,
)
from leafe_gym.envs.scienceworld.interpreter import Interpreter, Trail
from leafe_gym.envs.scienceworld.library import need
from leafe_gym.envs.scienceworld.pool import Seat, unkeep
from leafe_gym.envs.scienceworld.tasks import list_tasks
from leafe_gym.envs.scienceworld.words import refusal
from leafe_gym.errors import EnvironmentFailure, ResetNeeded, UsageError
from leafe_gym.types import Json, Task

_LONGEST = 500
"""Characters of an action that reach the simulator."""


class State(NamedTuple):
    """All of an episode but `np_random`; plain values, good in any process.

    Attributes:
        steps: taken.
        over: whether the episode is.
        shown: the last observation.
        points: -100 to 100.
        episode: what is played.
        trail: what was done, and the hashes of the answers.
    """

    steps: int
    over: bool
    shown: str
    points: int
    episode: Episode
    trail: Trail


class ScienceWorldEnv(AdaptedGame):
    """An elementary school's science task in a house with ten places.

    A reward is the change of the points, of which there are 100; focusing on the wrong thing fails
    the task with -100. `score` is the share of the points. `feedback` is the simulator's reply to
    an action that it refuses.

    Going back does the actions again, without what only informs, in a game that waits on the way
    there if one does; each answer is compared. See `park`.

    Args:
        task: name ("boil") or number in the paper ("1-1"); None: one of the thirty by the seed.
        variation: of the task; None: one of the split by the seed.
        simplifications: "easy", or names with commas between; see `catalogue.SIMPLIFICATIONS`.
        split: variations of "train", "val" or "test" only; None for all.
        admissible: list `admissible_commands`, 100 to 2,000 of them, for 30 ms and more a step.
        max_steps: see `AdaptedGame`; 100 is ScienceWorld's own.
        render_mode: see `AdaptedGame`.

    Raises:
        MissingExtra: if ScienceWorld is not installed.
        UsageError: if an argument cannot be used or there is no Java.
    """

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
        self.admissible = admissible
        need()
        self._episode: Episode | None = None
        self._trail: Trail = ()
        self._points = 0
        self._commands: tuple[str, ...] | None = None
        self._seat = Seat()
        weakref.finalize(self, self._seat.abandon)

    @classmethod
    def tasks(cls, split: str = "train", **kwargs: Json) -> Sequence[Task]:
        """The variations of a split; see `leafe_gym.envs.scienceworld.tasks`."""
        return list_tasks(split, kwargs)

    @property
    def episode(self) -> Episode:
        """What is being played.

        Raises:
            ResetNeeded: if no episode was begun.
        """
        if self._episode is None:
            raise ResetNeeded("no episode was begun; call reset() first")
        return self._episode

    def walkthrough(self) -> list[str]:
        """The simulator's own way to do the task from its beginning; takes 1 to 20 seconds once.

        Raises:
            ResetNeeded: if no episode was begun.
            EnvironmentFailure: if the simulator finds none.
        """
        return list(_gold(self.episode))

    def actions(self) -> list[str]:
        """See `AdaptedGame.actions`; looked for once in a state."""
        if self._commands is None:
            self._commands = tuple(self._game().commands()) if self.admissible else ()
        return list(self._commands)

    def park(self, state: State | None = None) -> None:
        """Have a game wait at a state, so that coming back there once costs nothing.

        Does what a restore would do, now; a thread may do it while a model thinks. The game takes
        some 0.3 MB in the Java process, is taken by the first restore of this state and given up
        with its snapshot.

        Args:
            state: from `get_state`; None for the present one.

        Raises:
            ResetNeeded: if no episode was begun.
            RestoreMismatch: if the same actions lead elsewhere now.
        """
        state = self.get_state() if state is None else state
        self._seat.pool().keep(state.episode, state.trail)

    def get_state(self) -> State:
        """All of the episode but `np_random`.

        Raises:
            ResetNeeded: if no episode was begun.
        """
        return State(
            self._steps,
            self._over,
            self._shown,
            self._points,
            self.episode,
            self._trail,
        )

    def set_state(self, state: State) -> None:
        """Go to a state that `get_state` returned, here or in another process.

        Raises:
            RestoreMismatch: if the same actions lead elsewhere now.
            EnvironmentFailure: if the simulator fails.
        """
        self._seat.go(state.episode, state.trail)
        self._steps, self._over, self._shown = state.steps, state.over, state.shown
        self._points, self._commands = state.points, None
        self._episode, self._trail = state.episode, state.trail

    @staticmethod  # so that a saved state, which names it, can be pickled
    def release_state(state: State) -> None:
        """Give up the games that wait at this state."""
        unkeep(state.episode, state.trail)

    def close(self) -> None:
        """Leave the Java process, which ends with the last environment."""
        self._seat.close()

    def _checked(self, variation: int | None) -> int | None:
        if variation is None:
            return None
        if self._task is None:
            raise UsageError("variation= is of one task; name it with task=, too")
        known = variations(self._task, self._split)
        if type(variation) is not int or variation not in known:
            place = f"{self._task}, split {self._split}," if self._split else self._task
            raise UsageError(
                f"variation={variation!r}: {place} has {known.start} to {known.stop - 1}"
            )
        return variation

    def _begin(self, seed: int | None) -> Opening:
        self._episode = self._choose()
        observation = self._seat.begin(self._episode)
        game = self._game()
        self._trail, self._points, self._commands = game.trail, 0, None
        task, forms = game.about()
        return Opening(observation, f"{task}\nActions: {', '.join(forms)}.")

    def _choose(self) -> Episode:
        names = [self._task] if self._task else list(VARIATIONS)
        name = names[int(self.np_random.integers(len(names)))]
        known = variations(name, self._split)
        number = known[int(self.np_random.integers(len(known)))]
        chosen = number if self._variation is None else self._variation
        return Episode(name, chosen, self._simplifications)

    def _play(self, action: str) -> Outcome:
        game = self._game()
        before = self._points
        try:
            said = game.do(_clean(action))
            self._points = game.points
            self._commands = None
            self.actions()
        except BaseException:
            self._seat.spoil()
            raise
        self._trail = game.trail
        return Outcome(
            observation=said,
            reward=float(self._points - before),
            terminated=game.over or self._points < 0,
            won=self._points >= 100,
            score=max(0.0, self._points / 100),
            feedback=refusal(said),
        )

    def _game(self) -> Interpreter:
        game = self._seat.game
        if game is None:
            raise EnvironmentFailure("the game is gone; reset() or restore() begins a new one")
        return game


def _clean(action: str) -> str:
    """One line, not too long, that can be encoded."""
    encodable = action.encode("utf-8", "replace").decode("utf-8")
    return " ".join(encodable.replace("\0", " ").split())[:_LONGEST]


@cache
def _gold(episode: Episode) -> tuple[str, ...]:
    seat = Seat()
    try:
        game = seat.pool().new()
        way = tuple(game.gold(episode))
        game.discard()
    finally:
        seat.close()
    if not way:
        raise EnvironmentFailure(
            f"ScienceWorld knows no way to do {episode}; use another variation"
        )
    return way
