"""The Gymnasium environment `leafe/TextWorldExpress-v0`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple

from leafe_gym.arguments import one_of, shown, whole_number
from leafe_gym.envs.tasks import TaskList, check_split, list_arguments, tag_of
from leafe_gym.envs.text_env import Opening, StepOutcome, TextEnv
from leafe_gym.envs.textworld_express.engine import FOLDS, LIBRARY, ExpressGame, ExpressScenario
from leafe_gym.errors import UsageError
from leafe_gym.types import Json, Task

ENV_ID = "leafe/TextWorldExpress-v0"
GAMES = (
    "cookingworld",
    "twc",
    "coin",
    "mapreader",
    "arithmetic",
    "sorting",
    "simonsays",
    "peckingorder",
)
VARIATIONS = 1000
"""Number of the library's seeds in each split."""

_FIRST = {split: 10_000 * number for number, split in enumerate(FOLDS)}
"""Split -> its first seed."""

_LONGEST = 500
"""Longest action passed to the simulator, in characters."""

_COMMAND_FORMS = "Use short commands, such as: look around, inventory, move north, take coin."


class TextWorldExpressState(NamedTuple):
    """The state of an episode except `np_random`; plain values, valid in any process.

    Attributes:
        steps: steps taken.
        over: whether the episode has ended.
        shown: the last observation.
        scenario: what is played.
        history: the actions that reached the simulator.
        digest: hash of its last answer.
    """

    steps: int
    over: bool
    shown: str
    scenario: ExpressScenario
    history: tuple[str, ...]
    digest: int


class TextWorldExpressEnv(TextEnv):
    """One of eight small text games: cooking, tidying up, searching, maps, arithmetic, sorting.

    The reward is the change of the score, as in the library; `score` is the share of all points,
    at least 0. `feedback` is the simulator's answer to an action that is not in
    `admissible_commands`. The first episode of a process takes 2 s or more, because Java starts.

    A restore generates the game again and repeats the actions, unless the game is at an earlier
    state of the same episode; the last answer is compared. The same happens in a step after another
    environment of the process has taken one, because the simulator keeps state in statics.

    Args:
        game: one of `GAMES`.
        params: parameters of the game, such as `{"numLocations": 5}`; the library's documentation
            lists them.
        variation: the library's seed: 0 to 999 for training, 10000 to 10999 for validation, 20000
            to 20999 for tests; None: chosen by the seed of `reset`.
        split: only variations of "train", "val" or "test"; None for all.
        max_steps: see `TextEnv`; 50 is the limit of the library's baselines.
        render_mode: see `TextEnv`.

    Raises:
        MissingExtra: if TextWorldExpress is not installed.
        UsageError: if an argument cannot be used or Java is missing.
    """

    one_of: ClassVar[tuple[str, ...]] = ("variation",)

    def __init__(
        self,
        game: str = "coin",
        params: Mapping[str, Json] | None = None,
        variation: int | None = None,
        split: str | None = None,
        max_steps: int | None = 50,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(max_steps, render_mode)
        self.game = one_of("game", game, GAMES)
        self._params = _joined(params)
        check_split(split, optional=True)
        self._splits = tuple(FOLDS) if split is None else (split,)
        self._variation = variation
        if variation is not None and split not in (None, _split_of(variation)):
            raise UsageError(f"variation={variation} is not in split {split!r}; drop one of them")
        LIBRARY.check()
        self._game: ExpressGame | None = None
        self._scenario: ExpressScenario | None = None

    @classmethod
    def tasks(cls, split: str = "train", **kwargs: Json) -> Sequence[Task]:
        """The library's 1000 variations of a split, for one game, by default `coin`.

        Raises:
            MissingExtra: if TextWorldExpress is not installed.
            UsageError: if the split or an argument cannot be used.
        """
        given = list_arguments(split, kwargs, (*cls.one_of, "split"))
        made: dict[str, Any] = {"game": "coin", **given}
        cls(**made).close()
        return TaskList(partial(_task, split, made), range(VARIATIONS))

    @property
    def scenario(self) -> ExpressScenario:
        """What is being played.

        Raises:
            ResetNeeded: before the first reset.
        """
        return self._started(self._scenario)

    def walkthrough(self) -> list[str]:
        """The library's own solution from the start, up to the action that wins.

        Raises:
            ResetNeeded: before the first reset.
        """
        return ExpressGame().gold_path(self.scenario)

    def actions(self) -> list[str]:
        """See `TextEnv.actions`."""
        return list(self._running().answer.commands)

    def get_state(self) -> TextWorldExpressState:
        """The state of the episode except `np_random`.

        Raises:
            ResetNeeded: before the first reset.
        """
        scenario, game = self.scenario, self._running()
        digest = game.answer.digest()
        return TextWorldExpressState(
            self._steps, self._over, self._shown, scenario, game.history, digest
        )

    def set_state(self, state: TextWorldExpressState) -> None:
        """Restore a state that `get_state` returned, here or in another process.

        Raises:
            RestoreMismatch: if the same actions now lead to another answer.
            EnvironmentFailure: if the simulator fails.
        """
        self._ready().replay(state.scenario, state.history, state.digest)
        self._steps, self._over, self._shown = state.steps, state.over, state.shown
        self._scenario = state.scenario

    def close(self) -> None:
        """Leave the Java process, which ends with its last environment."""
        super().close()
        self._game = None

    def begin(self, seed: int | None, options: Mapping[str, Any]) -> Opening:
        """See `TextEnv.begin`."""
        number = self._variation
        if number is None:
            split = self._splits[int(self.np_random.integers(len(self._splits)))]
            number = _FIRST[split] + int(self.np_random.integers(VARIATIONS))
        self._scenario = ExpressScenario(self.game, self._params, _split_of(number), number)
        game = self._ready()
        answer = game.begin(self._scenario)
        return Opening(answer.text, f"{game.task}\n{_COMMAND_FORMS}", max(0.0, answer.score))

    def play(self, action: str) -> StepOutcome:
        """See `TextEnv.play`."""
        game = self._running()
        before = game.answer
        command = _clean(action)
        if command == "help":  # as in the library; no step of the simulator
            return StepOutcome(game.task, score=max(0.0, before.score))
        answer = game.step(command)
        return StepOutcome(
            observation=answer.text,
            reward=answer.score - before.score,
            terminated=answer.won or answer.lost,
            won=answer.won,
            score=min(1.0, max(0.0, answer.score)),
            feedback="" if command in before.commands else answer.text,
        )

    def _running(self) -> ExpressGame:
        return self._started(self._game)

    def _ready(self) -> ExpressGame:
        """The game; a new one if its Java process is gone."""
        if self._game is None or not self._game.usable:
            self._game = ExpressGame()
        return self._game


def _task(split: str, kwargs: Mapping[str, Json], number: int) -> Task:
    variation = _FIRST[split] + number
    tag = tag_of({name: value for name, value in kwargs.items() if name != "game"})
    return Task(
        id=f"{ENV_ID}:{kwargs['game']}:{variation}{tag}",
        env_id=ENV_ID,
        kwargs={**kwargs, "variation": variation},
        split=split,
    )


def _split_of(variation: int) -> str:
    """The split of one of the library's seeds.

    Raises:
        UsageError: if it is not one of them.
    """
    whole_number("variation", variation, 0)
    for split, first in _FIRST.items():
        if first <= variation < first + VARIATIONS:
            return split
    raise UsageError(f"variation={variation}: use 0 to 999, 10000 to 10999 or 20000 to 20999")


def _joined(params: Mapping[str, Json] | None) -> str:
    """Parameters in the simulator's format.

    Raises:
        UsageError: if they are not names with numbers.
    """
    if params is None:
        return ""
    if not isinstance(params, Mapping) or not all(
        isinstance(name, str) and name.isidentifier() and isinstance(value, int)
        for name, value in params.items()
    ):
        raise UsageError(f"params={shown(params)}: give a dict of names and whole numbers")
    return ",".join(f"{name}={int(value)}" for name, value in params.items())


def _clean(action: str) -> str:
    """One line of at most `_LONGEST` characters that can be encoded."""
    encodable = action.encode("utf-8", "replace").decode("utf-8")
    return " ".join(encodable.replace("\0", " ").split())[:_LONGEST]
