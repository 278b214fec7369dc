"""The Gymnasium environment `leafe/ALFWorld-v0`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from leafe_gym.envs.alfworld.command_forms import command_forms
from leafe_gym.envs.alfworld.config import ALFWorldConfig
from leafe_gym.envs.alfworld.game_file import ALFWorldGame, load_planner
from leafe_gym.envs.alfworld.generate import generate
from leafe_gym.envs.alfworld.official_files import find_trials, is_trial, need_root, trial_file
from leafe_gym.envs.alfworld.tasks import list_tasks
from leafe_gym.envs.data_files import search_data
from leafe_gym.envs.text_env import Opening, StepOutcome, TextEnv
from leafe_gym.errors import UsageError
from leafe_gym.types import Json, Task

_TASK = "Your task is to:"
_NOTHING = "Nothing happens."


class ALFWorldState(NamedTuple):
    """The state of an episode except `np_random`.

    Attributes:
        steps: steps taken.
        over: whether the episode has ended.
        shown: the last observation.
        planner: the game's state; see `planner_game.PlannerSnapshot`.
    """

    steps: int
    over: bool
    shown: str
    planner: Any


class ALFWorldEnv(TextEnv):
    """A household task as text: find, clean, heat, cool or examine objects and put them away.

    The reward is 1 for the step that completes the task, which ends the episode, and 0 before;
    `score` is 0 or 1. `feedback` is "Nothing happens." for a command that is not in
    `admissible_commands`.

    Args:
        data: folder with the official games (`json_2.1.1`, or the folder above it), or one game: a
            trial's folder or `.tw-pddl` file. A relative path is also looked up in `LEAFE_DATA`.
            None: `$ALFWORLD_DATA`, `$LEAFE_DATA` or `$LEAFE_DATA/alfworld`.
        games: "official" plays the official games, "generated" plays games that are generated from
            ALFWorld's domain and grammar, "auto" plays official games if they are found.
        trial: the only game to play: a trial's folder or `.tw-pddl` file, absolute or relative to
            `json_2.1.1`.
        task_types: names of task types or their numbers in ALFWorld, 1 to 6; None for all six.
        split: play only games of this split; for official games the default is "train".
        max_steps: see `TextEnv`; 50 is ALFWorld's limit.
        render_mode: see `TextEnv`.

    Raises:
        MissingExtra: if ALFWorld is not installed.
        UsageError: if an argument cannot be used or the games are not found.
    """

    one_of = ("trial",)

    def __init__(
        self,
        data: str | os.PathLike[str] | None = None,
        games: str = "auto",
        trial: str | None = None,
        task_types: Sequence[str | int] | str | int | None = None,
        split: str | None = None,
        max_steps: int | None = 50,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(max_steps, render_mode)
        load_planner()
        self.config = ALFWorldConfig.of(data, games, trial, task_types, split)
        if self.config.trial is None and self.config.games == "official":
            need_root(self.config.data)
        self._engine: Any = None
        self._game: ALFWorldGame | None = None
        self._plan: list[str] | None = None

    @classmethod
    def tasks(cls, split: str = "train", **kwargs: Json) -> Sequence[Task]:
        """The tasks of a split, built when asked for; see `leafe_gym.envs.alfworld.tasks`."""
        return list_tasks(split, kwargs)

    @classmethod
    def selects_one(cls, kwargs: Mapping[str, Json]) -> bool:
        """Whether arguments leave one game; `data=` may be one, too."""
        data = kwargs.get("data")
        found = search_data(data) if isinstance(data, str) else None
        return super().selects_one(kwargs) or (found is not None and is_trial(found))

    def walkthrough(self) -> list[str]:
        """The planner's solution from the start of the episode.

        Raises:
            ResetNeeded: before the first reset.
            UsageError: if the planner finds none.
        """
        engine, game = self._started(self._engine), self.game
        if self._plan is None:
            now = engine.save_state()
            engine.begin(game)
            self._plan = engine.plan()
            engine.load_state(now)
        if not self._plan:
            raise UsageError(f"{game.name}: the planner finds no solution; leave it out")
        return list(self._plan)

    @property
    def game(self) -> ALFWorldGame:
        """The current game.

        Raises:
            ResetNeeded: before the first reset.
        """
        return self._started(self._game)

    def actions(self) -> list[str]:
        """See `TextEnv.actions`."""
        return list(self._engine.state.admissible_commands)

    def get_state(self) -> ALFWorldState:
        """The state of the episode except `np_random`.

        Raises:
            ResetNeeded: before the first reset.
        """
        planner = self._started(self._engine).save_state()
        return ALFWorldState(self._steps, self._over, self._shown, planner)

    def set_state(self, state: ALFWorldState) -> None:
        """Restore a state that `get_state` of an equally configured environment returned."""
        self._steps, self._over, self._shown = state.steps, state.over, state.shown
        self._running().load_state(state.planner)
        self._take(state.planner.ready.game)

    def close(self) -> None:
        """Leave the planner's library to the next environment."""
        super().close()
        if self._engine is not None:
            self._engine.close()
        self._engine = None

    def _running(self) -> Any:
        if self._engine is None:
            self._engine = load_planner().PlannerGame()
        return self._engine

    def _take(self, game: ALFWorldGame) -> None:
        if game is not self._game:
            self._game, self._plan = game, None

    def begin(self, seed: int | None, options: Mapping[str, Any]) -> Opening:
        """See `TextEnv.begin`."""
        game = self._choose(seed)
        state = self._running().begin(game)
        self._take(self._engine.game)
        before, _, task = state.feedback.partition(_TASK)
        observation = before.partition("=-")[2].strip() or before.strip()
        forms = command_forms(game.grammar)
        return Opening(observation, f"{_TASK}{task}\n{forms}".strip())

    def play(self, action: str) -> StepOutcome:
        """See `TextEnv.play`."""
        state = self._engine.act(" ".join(action.split()))
        won = bool(state["won"])
        said = state.feedback.strip()
        feedback = said if said == _NOTHING else ""
        return StepOutcome(said, float(won), won, won=won, score=float(won), feedback=feedback)

    def _choose(self, seed: int | None) -> ALFWorldGame:
        config = self.config
        if config.trial is not None:
            return _read(trial_file(config.trial, config.data))
        if config.games == "official":
            root = need_root(config.data)
            trials = _trials(root, config.split or "train", config.task_types)
            return _read(root / trials[int(self.np_random.integers(len(trials)))])
        number = int(self.np_random.integers(2**63)) if seed is None else seed
        return ALFWorldGame.generated(generate(number, config.task_types, config.split))


@lru_cache(maxsize=32)
def _trials(root: Path, split: str, task_types: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(find_trials(root, split, task_types))


def _read(path: Path) -> ALFWorldGame:
    return ALFWorldGame.read(path if path.name.endswith(".tw-pddl") else path / "game.tw-pddl")
