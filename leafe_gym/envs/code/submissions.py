"""What `CodeContests` and `MBPP` share: an episode of a few submissions, judged one by one."""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import gymnasium as gym

from leafe_gym.envs.code.extract import MAX_CODE, extract_code
from leafe_gym.envs.code.judge_result import JudgeResult
from leafe_gym.envs.code.language import PYTHON, Language
from leafe_gym.envs.space import TextSpace
from leafe_gym.errors import ResetNeeded, UsageError
from leafe_gym.types import Info

_Problem = TypeVar("_Problem")
State = tuple[str, int, bool]
"""Name of the problem, submissions made, whether the episode is over."""

_REMEMBERED = 512


class SubmissionEnv(gym.Env[str, str], Generic[_Problem]):
    """An episode is up to `max_attempts` submissions for one problem.

    The observation after a submission is its verdict. The reward is 1 if all tests passed, which
    ends the episode, and 0 otherwise; after the last attempt the episode is over.

    A program runs in an empty folder that is emptied again, so nothing of an attempt lives on in
    the sandbox: the state of an episode is which problem, how many attempts, whether it is over.

    The same program gets the verdict that it got the first time, in this instance: whoever comes
    back to a state and does the same again meets the same.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(
        self, names: Sequence[str], max_attempts: int, language: Language = PYTHON
    ) -> None:
        if type(max_attempts) is not int or max_attempts < 1:
            raise UsageError(f"max_attempts={max_attempts!r}: expected a whole number >= 1")
        self.observation_space = TextSpace()
        self.action_space = TextSpace()
        self.max_attempts = max_attempts
        self.language = language
        self._names = names
        self._problem: _Problem | None = None
        self._name = ""
        self._attempts = 0
        self._over = False
        self._verdicts: OrderedDict[tuple[str, str], JudgeResult] = OrderedDict()

    @abstractmethod
    def load(self, name: str) -> _Problem:
        """The problem called `name`."""

    @abstractmethod
    def instruct(self, problem: _Problem) -> str:
        """What the agent is asked for."""

    @abstractmethod
    def judge(self, problem: _Problem, code: str) -> JudgeResult:
        """The verdict on a program.

        Raises:
            SandboxError: if the sandbox fails; that says nothing of the program.
        """

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, Info]:
        """Begin an episode.

        Args:
            seed: which problem, where there are several.
            options: `{"problem": name}` takes that one.

        Raises:
            UsageError: if an option is unknown, or there is no problem of that name.
        """
        super().reset(seed=seed)
        options = options or {}
        if unknown := options.keys() - {"problem"}:
            raise UsageError(f"unknown reset options {sorted(unknown)}; the only one is 'problem'")
        name = options.get("problem")
        if name is None:
            name = self._names[int(self.np_random.integers(len(self._names)))]
        self._begin(str(name))
        assert self._problem is not None
        observation = f"Submit a program. Attempts left: {self.max_attempts}."
        return observation, {
            "instruction": self.instruct(self._problem),
            "won": False,
            "score": 0.0,
        }

    def step(self, action: str) -> tuple[str, float, bool, bool, Info]:
        """Submit a program: plain, or in a code fence among other text.

        Raises:
            ResetNeeded: if no episode is running.
            UsageError: if the action is no string.
            SandboxError: if the sandbox fails; the attempt does not count.
        """
        if not isinstance(action, str):
            raise UsageError(f"action {action!r}: give a string, the program to submit")
        if self._problem is None or self._over:
            raise ResetNeeded("no episode is running; call reset() before step()")
        verdict = self._verdict(self._problem, action)
        self._attempts += 1
        left = self.max_attempts - self._attempts
        self._over = verdict.accepted or not left
        observation = verdict.observation
        if not self._over:
            observation += f"\nAttempts left: {left}."
        info: Info = {
            "won": verdict.accepted,
            "score": verdict.score,
            "feedback": verdict.feedback,
        }
        return observation, float(verdict.accepted), self._over, False, info

    def get_state(self) -> State:
        """All of the episode but `np_random`.

        Raises:
            ResetNeeded: if no episode was begun.
        """
        if self._problem is None:
            raise ResetNeeded("no episode was begun; call reset() first")
        return self._name, self._attempts, self._over

    def set_state(self, state: State) -> None:
        """Go to a state that `get_state` of an environment made alike returned."""
        name, attempts, over = state
        self._begin(name)
        self._attempts, self._over = attempts, over

    def __getstate__(self) -> Mapping[str, Any]:
        raise TypeError("it holds a sandbox; use its get_state() and set_state()")

    def _begin(self, name: str) -> None:
        if self._problem is None or name != self._name:
            self._problem = self.load(name)
        self._name, self._attempts, self._over = name, 0, False

    def _verdict(self, problem: _Problem, action: str) -> JudgeResult:
        code = extract_code(action, self.language)
        if not code.strip():
            return JudgeResult(kind="no code", detail="Put the program in a code fence.")
        if len(code) > MAX_CODE:
            return JudgeResult(kind="no code", detail=f"At most {MAX_CODE} characters.")
        key = (self._name, code)
        known = self._verdicts.get(key)
        if known is None:
            known = self._verdicts[key] = self.judge(problem, code)
            if len(self._verdicts) > _REMEMBERED:
                self._verdicts.popitem(last=False)
        return known
