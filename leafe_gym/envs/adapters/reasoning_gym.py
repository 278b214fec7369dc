"""Data sets of reasoning-gym (https://github.com/open-thought/reasoning-gym)."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from leafe_gym._optional import require
from leafe_gym.arguments import whole_number
from leafe_gym.envs.adapters.answer_check import may_be_scored
from leafe_gym.envs.adapters.base import GlobalRandomGame, check_name, constructor_errors
from leafe_gym.envs.tasks import check_split, list_arguments, seed_tasks, split_by_hash, tag_of
from leafe_gym.envs.text_env import Opening, StepOutcome
from leafe_gym.errors import UsageError
from leafe_gym.types import Json, Task

ENV_ID = "leafe/ReasoningGym-v0"
_DRAWS = 400
"""Most questions that are generated to find one of a split."""
_FORM = "Give the answer alone, or between <answer> and </answer>. You have {attempts} attempts."


class ReasoningGymState(NamedTuple):
    """The state of an episode except the random generators.

    Attributes:
        steps: answers given.
        over: whether the episode has ended.
        shown: the last observation.
        entry: the question as the library makes it; never changed.
    """

    steps: int
    over: bool
    shown: str
    entry: dict[str, Any]


class ReasoningGymEnv(GlobalRandomGame):
    """A question of one data set, and up to `max_attempts` answers to it.

    The library's scorer gives an answer 0 to 1; `score` is that number, and 1 wins and ends the
    episode. The reward is the score of the last answer, and 0 for those before it. The observation
    after a wrong answer tells its score and nothing else.

    Some scorers evaluate the answer as Python. Such an answer is parsed first, and one that is
    more than a small arithmetic expression or a list of values counts as empty; see
    `answer_check`.

    Args:
        dataset: the library's name of the data set, such as "countdown".
        settings: of its configuration, except `seed` and `size`; see the library.
        split: only questions of "train", "val" or "test", by the hash of their text; None for all.
        max_attempts: answers of an episode, >= 1.
        render_mode: see `TextEnv`.

    Raises:
        MissingExtra: if reasoning-gym is not installed.
        UsageError: if there is no such data set, it does not take a setting, or an argument cannot
            be used.
    """

    metadata: dict[str, Any] = {**GlobalRandomGame.metadata, "prompts": "chat"}  # noqa: RUF012
    action_form = "a string, the answer"

    def __init__(
        self,
        dataset: str = "countdown",
        settings: Mapping[str, Json] | None = None,
        split: str | None = None,
        max_attempts: int = 4,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(None, render_mode)
        known = import_module(f"{_library().__name__}.factory").DATASETS.keys() - {"composite"}
        self.dataset = check_name(
            "dataset", dataset, sorted(known), "reasoning-gym", "reasoning_gym.factory.DATASETS"
        )
        if settings is not None and (
            not isinstance(settings, Mapping) or settings.keys() & {"seed", "size"}
        ):
            raise UsageError(f"settings={settings!r}: give a dict without seed and size, or None")
        check_split(split, optional=True)
        self.split = split
        self.max_attempts = whole_number("max_attempts", max_attempts, 1)
        self._settings = dict(settings or {})
        self._scorer = self._made(0)
        self._entry: dict[str, Any] | None = None

    @classmethod
    def tasks(cls, split: str = "train", **kwargs: Json) -> Sequence[Task]:
        """Seeds 0 to 9999 of a split; no question is in two splits.

        Raises:
            MissingExtra: if reasoning-gym is not installed.
            UsageError: if the split or an argument cannot be used.
        """
        given: dict[str, Any] = {**list_arguments(split, kwargs), "split": split}
        cls(**given).close()
        return seed_tasks(ENV_ID, split, given, tag_of(given))

    @property
    def entry(self) -> dict[str, Any]:
        """The current question, with its answer and the library's metadata.

        Raises:
            ResetNeeded: before the first reset.
        """
        return self._started(self._entry)

    def walkthrough(self) -> list[str]:
        """The library's own answer, where it has one that its scorer takes; otherwise empty.

        Raises:
            ResetNeeded: before the first reset.
        """
        answer = self.entry["answer"]
        known = isinstance(answer, str) and self._score(answer) >= 1
        return [answer] if known else []

    def get_state(self) -> ReasoningGymState:
        """The state of the episode except the random generators.

        Raises:
            ResetNeeded: before the first reset.
        """
        return ReasoningGymState(self._steps, self._over, self._shown, self.entry)

    def set_state(self, state: ReasoningGymState) -> None:
        """Restore a state that `get_state` of an equally configured environment returned."""
        self._steps, self._over, self._shown, self._entry = state

    def begin(self, seed: int | None, options: Mapping[str, Any]) -> Opening:
        """Generate questions until one belongs to the split."""
        for _ in range(_DRAWS):
            number = int(self.np_random.integers(2**31))
            # A few data sets draw from the generators of the process.
            random.seed(number)
            np.random.seed(number)
            self._entry = self._made(number)[0]
            question = str(self._entry["question"])
            if self.split in (None, _split_of(question)):
                form = _FORM.format(attempts=self.max_attempts)
                return Opening(question, f"Answer the question.\n{form}")
        raise UsageError(
            f"dataset={self.dataset!r}: none of {_DRAWS} questions is in the split "
            f"{self.split!r}; use other settings, or no split"
        )

    def play(self, action: str) -> StepOutcome:
        """Score an answer."""
        answer = _library("utils").extract_answer(action)
        score = self._score(action.strip() if answer is None else answer)
        won, left = score >= 1, self.max_attempts - self._steps - 1
        over = won or not left
        said = "The answer is right." if won else f"Wrong: the answer scores {score:g} of 1."
        return StepOutcome(
            said if over else f"{said} Attempts left: {left}.",
            reward=score if over else 0.0,
            terminated=over,
            won=won,
            score=score,
            feedback="" if won else said,
        )

    def _score(self, answer: str) -> float:
        """The library's score; for an answer that must not be evaluated, that of an empty one."""
        given = answer if may_be_scored(self.dataset, answer) else ""
        try:
            score = float(self._scorer.score_answer(given, self.entry))
        except Exception:  # noqa: BLE001 - scorers raise many kinds for malformed answers
            return 0.0
        return min(1.0, max(0.0, score))

    def _made(self, seed: int) -> Any:
        settings = {name: _frozen(value) for name, value in self._settings.items()}
        try:
            with constructor_errors(f"dataset={self.dataset!r}"):
                return _library().create_dataset(self.dataset, seed=seed, size=10, **settings)
        except AssertionError as error:
            raise UsageError(f"dataset={self.dataset!r}: settings={settings}: {error}") from error


def _library(module: str = "") -> Any:
    name = f"reasoning_gym.{module}" if module else "reasoning_gym"
    return require(name, "reasoning-gym", "the data sets of reasoning-gym")


def _split_of(question: str) -> str:
    return split_by_hash(blake2b(question.encode("utf-8", "replace"), digest_size=8).digest())


def _frozen(value: Any) -> Any:
    """JSON's lists as the tuples that configurations have."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
