"""The Gymnasium environment `leafe/TextWorld-v0`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from leafe_gym.envs.data_files import data_argument, find_data
from leafe_gym.envs.tasks import list_arguments, seed_tasks, tag_of
from leafe_gym.envs.text_env import Opening, StepOutcome, TextEnv
from leafe_gym.envs.textworld import game_text, progress
from leafe_gym.envs.textworld.commands import OUTSIDE, one_line, outside
from leafe_gym.envs.textworld.game_cache import game_file
from leafe_gym.envs.textworld.game_spec import FORMS, GameSpec, load_textworld
from leafe_gym.envs.textworld.jericho_warnings import no_unknown_story_warning
from leafe_gym.envs.textworld.story_file import check_story
from leafe_gym.errors import UsageError
from leafe_gym.types import Json, Task

ENV_ID = "leafe/TextWorld-v0"
_COMMAND_FORMS = "Use short commands, such as: look, go north, open chest, take key from chest."
_SOURCE = "Make a game with `tw-make`, or leave data= out for generated games."
_NO_GOAL = "Explore the world and score points."
_ENDS = {(True, False): "You have won.", (False, True): "You have lost."}
"""(won, lost) -> closing text of games without prose."""


class TextWorldState(NamedTuple):
    """The state of an episode except `np_random`.

    Attributes:
        path: file of the game.
        steps: steps taken.
        over: whether the episode has ended.
        points: points scored.
        commands: admissible commands.
        shown: the last observation.
        progress: see `progress`.
    """

    path: str
    steps: int
    over: bool
    points: int
    commands: tuple[str, ...]
    shown: str
    progress: progress.Progress


class TextWorldEnv(TextEnv):
    """A game of TextWorld; without `data`, one generated game per seed.

    The reward is the change of the game's points, `score` the share of all points. `feedback` is
    the game's reply to a command that was not in `admissible_commands`. Commands for the
    interpreter (save, undo, restart, ...) are not passed on.

    Args:
        data: file to play: a compiled `.z8` with its `.json` next to it, or a `.json` alone, which
            needs no compiler and whose texts are made from the facts. A relative path is also
            looked up in `LEAFE_DATA`. None: generated games.
        rooms: see `GameSpec`, as all arguments up to `form`.
        objects: see there.
        quest_length: see there.
        challenge: see there.
        settings: see there.
        split: see there.
        form: see there.
        max_steps: see `TextEnv`.
        render_mode: see `TextEnv`.
        game: older name of `data`.

    Raises:
        MissingExtra: if TextWorld is not installed.
        UsageError: if an argument or the file cannot be used.
    """

    one_of = ("data", "game")

    def __init__(
        self,
        data: str | os.PathLike[str] | None = None,
        rooms: int = 5,
        objects: int = 10,
        quest_length: int = 5,
        challenge: str | None = None,
        settings: Mapping[str, Json] | None = None,
        split: str | None = None,
        form: Literal["z8", "json"] = "z8",
        max_steps: int | None = 100,
        render_mode: str | None = None,
        game: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(max_steps, render_mode)
        load_textworld()
        self._spec = GameSpec(rooms, objects, quest_length, challenge, settings, split, form)
        self._spec.as_json()
        path = data_argument(data, "game", game)
        self._file = None if path is None else _checked(find_data(path, _SOURCE))
        self._game: Any = None
        self._path = ""
        self._points = 0
        self._commands: tuple[str, ...] = ()

    @classmethod
    def tasks(cls, split: str = "train", **kwargs: Json) -> Sequence[Task]:
        """Seeds 0 to 9999 of the generated games of a split; no game is in two splits.

        Raises:
            UsageError: if the split or an argument cannot be used.
        """
        given: dict[str, Any] = {**list_arguments(split, kwargs, cls.one_of), "split": split}
        cls(**given).close()
        return seed_tasks(ENV_ID, split, given, tag_of(given) if kwargs else "")

    def walkthrough(self) -> list[str]:
        """Commands that win the current game from its start; empty if it has none.

        Raises:
            ResetNeeded: before the first reset.
        """
        self._started(self._game)
        return list(self._data.metadata.get("walkthrough") or ())

    @property
    def path(self) -> str:
        """The file of the current game; "" before the first reset."""
        return self._path

    def actions(self) -> list[str]:
        """See `TextEnv.actions`."""
        return list(self._commands)

    def get_state(self) -> TextWorldState:
        """The state of the episode except `np_random`.

        Raises:
            ResetNeeded: before the first reset.
        """
        saved = progress.save(self._started(self._game))
        over, shown = self._over, self._shown
        return TextWorldState(
            self._path, self._steps, over, self._points, self._commands, shown, saved
        )

    def set_state(self, state: TextWorldState) -> None:
        """Restore a state that `get_state` of an equally configured environment returned."""
        if state.path != self._path:
            self._open(state.path)
        progress.load(self._game, state.progress)
        self._steps, self._over, self._points = state.steps, state.over, state.points
        self._commands, self._shown = state.commands, state.shown

    def close(self) -> None:
        """Free the interpreter."""
        super().close()
        if self._game is not None:
            self._game.close()
        self._game, self._path = None, ""

    def begin(self, seed: int | None, options: Mapping[str, Any]) -> Opening:
        """See `TextEnv.begin`."""
        path = self._file
        if path is None:
            number = int(self.np_random.integers(2**31)) if seed is None else seed
            path = str(game_file(self._spec, number))
        state = self._open(path) if path != self._path else self._game.reset()
        self._note(state)
        objective = str(state.objective or "")
        opening = game_text.after(state.feedback, objective) if self._prose else ""
        instruction = f"{objective or _NO_GOAL}\n{_COMMAND_FORMS}"
        return Opening(self._say(state, opening), instruction, self._score())

    def play(self, action: str) -> StepOutcome:
        """See `TextEnv.play`."""
        command = one_line(action)
        # The parser ignores case, so the list of commands does, too.
        command = {one.lower(): one for one in self._commands}.get(command.lower(), command)
        known = command in self._commands
        if outside(command):
            return StepOutcome(OUTSIDE, score=self._score(), feedback=OUTSIDE)
        before = self._points
        state, _, _ = self._game.step(command)
        self._note(state)
        won, lost = bool(state.won), bool(state.lost)
        bare = _ENDS.get((won, lost), "") if known else state.feedback
        said = self._say(state, state.feedback if self._prose else bare)
        return StepOutcome(
            observation=said,
            reward=float(self._points - before),
            terminated=won or lost,
            won=won,
            score=self._score(),
            feedback="" if known else said if self._prose else game_text.clean(state.feedback),
        )

    @property
    def _prose(self) -> bool:
        return not self._path.endswith(".json")

    @property
    def _data(self) -> Any:
        return self._game.state.game or self._game._game

    def _say(self, state: Any, text: str) -> str:
        if self._prose:
            return game_text.clean(text)
        said = game_text.describe(state.facts)
        return f"{game_text.clean(text)}\n{said}" if text else said

    def _note(self, state: Any) -> None:
        self._points = int(state.score or 0)
        self._commands = tuple(state.admissible_commands or ())

    def _score(self) -> float:
        most = int(self._data.max_score or 0)
        return min(1.0, max(0.0, self._points / most)) if most else 0.0

    def _open(self, path: str) -> Any:
        """Load a game and start it."""
        self.close()
        infos = load_textworld().EnvInfos(
            admissible_commands=True, facts=path.endswith(".json"), score=True, max_score=True
        )
        try:
            with no_unknown_story_warning():
                game = load_textworld().start(path, infos)
            game.seed(1)  # otherwise the interpreter seeds from the clock
            state = game.reset()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{path} is not a game that TextWorld can play ({type(error).__name__}: {error}); "
                "make one with `tw-make`, or leave data= out for generated games"
            ) from error
        self._game, self._path = game, path
        return state


def _checked(path: Path) -> str:
    """The path as a string.

    Raises:
        UsageError: if there is no such file, or it cannot be played.
    """
    if path.suffix.removeprefix(".") not in FORMS:
        raise UsageError(
            f"{path}: TextWorld's games end in .z8 or .json; for other story files use "
            "leafe/Jericho-v0"
        )
    if not path.is_file():
        raise UsageError(f"{path}: is not a file; leave data= out for generated games")
    if path.suffix == ".json":
        return str(path)
    if not path.with_suffix(".json").is_file():
        raise UsageError(
            f"{path}: its {path.with_suffix('.json').name} is missing, which TextWorld needs next "
            "to it; put it there, or play the file with leafe/Jericho-v0"
        )
    return check_story(path)
