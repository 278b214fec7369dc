"""The Gymnasium environment `leafe/Jericho-v0`: story files of the Z-machine, played by Jericho."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from leafe_gym._optional import available, require
from leafe_gym.arguments import true_or_false
from leafe_gym.envs.data_files import data_argument, find_data, take_data
from leafe_gym.envs.tasks import SPLITS, TaskList, hash_of, list_arguments
from leafe_gym.envs.text_env import Opening, StepOutcome, TextEnv
from leafe_gym.envs.textworld.commands import OUTSIDE, one_line, outside, outside_keys
from leafe_gym.envs.textworld.game_text import clean
from leafe_gym.envs.textworld.jericho_warnings import no_unknown_story_warning
from leafe_gym.envs.textworld.progress import load_machine
from leafe_gym.envs.textworld.story_file import check_story
from leafe_gym.envs.textworld.story_trial import try_story
from leafe_gym.errors import UsageError
from leafe_gym.types import Json, Task

ENV_ID = "leafe/Jericho-v0"
TAGGER = "en_core_web_sm"
"""spaCy's English model."""
_READ_CHAR = 246
"""Opcode that reads one key."""
_MENU = "Would you like to RESTART"
_WON = ("*** You have won ***", "*** The End ***")
_INSTRUCTION = (
    "You play a text adventure. Explore, solve its puzzles and score points. "
    "Use short commands, such as: look, inventory, go north, open door, take lamp."
)


class JerichoState(NamedTuple):
    """The state of an episode except `np_random`.

    Attributes:
        steps: steps taken.
        over: whether the episode has ended.
        points: points scored.
        commands: admissible commands; None if they are not computed yet.
        shown: the last observation.
        keys: keys of earlier commands that the story has not read yet.
        machine: the interpreter's memory.
    """

    steps: int
    over: bool
    points: int
    commands: tuple[str, ...] | None
    shown: str
    keys: str
    machine: Any


class JerichoEnv(TextEnv):
    """A story file; the seed is the interpreter's, so stories with random events differ by seed.

    For stories that Jericho knows (https://github.com/microsoft/jericho), the reward is the change
    of the points, `score` the share of all points, `won` Jericho's victory flag, and
    `admissible_commands` lists commands that change something. Other stories have no points: the
    episode ends at the closing menu of Inform stories, and its text decides whether it is won, with
    reward 1. Commands for the interpreter (save, undo, restart, ...) are not passed on.

    Where the story reads a single key, it gets the first character of the command and, as long as
    it goes on to read keys, the others in the following steps instead of their commands; the next
    line that it reads discards the rest. This is what Jericho does.

    Args:
        data: the story file, `.z1` to `.z8`; required. A relative path is also looked up in
            `LEAFE_DATA`.
        admissible: list `admissible_commands`, which takes Jericho 0.1 to 1 s per step and needs
            spaCy's model (`python -m spacy download en_core_web_sm`).
        max_steps: see `TextEnv`.
        render_mode: see `TextEnv`.
        game: older name of `data`.

    Raises:
        MissingExtra: if Jericho is not installed.
        UsageError: if the file cannot be played.
    """

    one_of = ("data", "game")

    def __init__(
        self,
        data: str | os.PathLike[str] | None = None,
        admissible: bool = False,
        max_steps: int | None = 100,
        render_mode: str | None = None,
        game: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(max_steps, render_mode)
        self.admissible = true_or_false("admissible", admissible)
        _load_jericho()
        self._path = check_story(_story(data, game))
        try_story(self._path)
        if self.admissible:
            check_tagger()
        self._game: Any = None
        self._points = 0
        self._keys = ""
        self._commands: tuple[str, ...] | None = None

    @classmethod
    def tasks(cls, split: str = "train", **kwargs: Json) -> Sequence[Task]:
        """A story is one task, in the split given by the hash of its content.

        Raises:
            UsageError: if the split or an argument cannot be used.
        """
        given = {"data": take_data(kwargs, "game"), **list_arguments(split, kwargs)}
        path = Path(check_story(_story(given["data"], None)))
        content = hash_of(path.read_bytes().hex())
        here = SPLITS[int(content, 16) % len(SPLITS)] == split
        task_id = f"{ENV_ID}:{path.name}@{content}"
        task = Task(id=task_id, env_id=ENV_ID, kwargs=given, split=split)
        return TaskList(lambda _: task, range(int(here)))

    def actions(self) -> list[str]:
        """See `TextEnv.actions`; computed once per state. None are listed for a single key."""
        if self._commands is None:
            listed = self.admissible and self._game.is_fully_supported and not self._reads_key()
            found = self._game.get_valid_actions(use_parallel=False) if listed else []
            self._commands = tuple(sorted(found))
        return list(self._commands)

    def walkthrough(self) -> list[str]:
        """Commands that win from the start, for stories that Jericho knows; otherwise empty.

        Raises:
            ResetNeeded: before the first reset.
        """
        game = self._started(self._game)
        return list(game.get_walkthrough()) if game.is_fully_supported else []

    def get_state(self) -> JerichoState:
        """The state of the episode except `np_random`.

        Raises:
            ResetNeeded: before the first reset.
        """
        machine = self._started(self._game).get_state()
        return JerichoState(
            self._steps,
            self._over,
            self._points,
            self._commands,
            self._shown,
            self._keys,
            machine,
        )

    def set_state(self, state: JerichoState) -> None:
        """Restore a state that `get_state` of an equally configured environment returned."""
        if self._game is None:
            self._open(1)
        load_machine(self._game, state.machine)
        self._steps, self._over, self._points = state.steps, state.over, state.points
        self._commands, self._shown, self._keys = state.commands, state.shown, state.keys

    def close(self) -> None:
        """Free the interpreter."""
        super().close()
        self._game = None

    def begin(self, seed: int | None, options: Mapping[str, Any]) -> Opening:
        """See `TextEnv.begin`."""
        number = int(self.np_random.integers(2**31)) if seed is None else seed
        if self._game is None:
            self._open(1)
        # For Jericho 0 means "none", so seed 0 is a number that no other seed below 2**31 - 1 has.
        self._game.seed(number % (2**31 - 1) or 2**31 - 1)
        said, _ = self._game.reset()
        self._points, self._commands, self._keys = int(self._game.get_score()), None, ""
        return Opening(clean(said), _INSTRUCTION, self._score())

    def play(self, action: str) -> StepOutcome:
        """See `TextEnv.play`."""
        command, key = one_line(action), self._reads_key()
        if outside_keys(command) if key else outside(command):
            return StepOutcome(OUTSIDE, score=self._score(), feedback=OUTSIDE)
        if key:
            # The interpreter would keep the other keys in memory that no snapshot contains.
            keys = self._keys or command
            command, self._keys = keys[0], keys[1:]
        else:
            self._keys = ""
        before = self._points
        text, _, over, _ = self._game.step(command)
        self._commands = None
        if self._game.is_fully_supported:
            self._points, won = int(self._game.get_score()), bool(self._game.victory())
        else:
            over = _MENU in text
            won = over and any(words in text for words in _WON)
            self._points = int(won)
        said = clean(text)
        changed = bool(self._game._world_changed()) or self._points != before
        return StepOutcome(
            observation=said,
            reward=float(self._points - before),
            terminated=bool(over) or bool(self._game._emulator_halted()),
            won=won,
            score=self._score(),
            feedback="" if changed else said,
        )

    def _reads_key(self) -> bool:
        return int(self._game.frotz_lib.get_opcode()) == _READ_CHAR

    def _score(self) -> float:
        most = int(self._game.get_max_score()) if self._game.is_fully_supported else 1
        return min(1.0, max(0.0, self._points / most)) if most > 0 else 0.0

    def _open(self, seed: int) -> None:
        with no_unknown_story_warning():
            self._game = _load_jericho().FrotzEnv(self._path, seed)


def _story(data: Any, game: Any) -> Path:
    """The path of the story file.

    Raises:
        UsageError: if none is given, or there is no such file.
    """
    path = data_argument(data, "game", game)
    if path is None:
        raise UsageError("data= is missing: give the path of a story file")
    return find_data(path)


def check_tagger() -> None:
    """Check that what lists `admissible_commands` is installed.

    Jericho would download it from the network, in the middle of an episode.

    Raises:
        UsageError: if spaCy's English model is missing; says how to install it.
    """
    if not available(TAGGER):
        raise UsageError(
            f"admissible=True needs spaCy's model {TAGGER}, which Jericho uses to find the objects "
            f"in a text: python -m spacy download {TAGGER}; or leave admissible out"
        )


def _load_jericho() -> Any:
    return require("jericho", "jericho", "Jericho")
