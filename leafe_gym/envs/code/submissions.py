"""Base class of `CodeContests` and `MBPP`: an episode is a sequence of judged submissions."""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import gymnasium as gym

from leafe_gym._process_guard import ProcessGuard
from leafe_gym.envs.code.extract import MAX_CODE, extract_code
from leafe_gym.envs.code.judge_result import JudgeResult
from leafe_gym.envs.code.language import PYTHON, Language
from leafe_gym.envs.code.problem_tasks import check_reset
from leafe_gym.envs.space import TextSpace
from leafe_gym.errors import ResetNeeded, UsageError
from leafe_gym.types import Info

_Problem = TypeVar("_Problem")
State = tuple[str, int, bool]
"""Name of the problem, number of submissions, whether the episode is over."""

_REMEMBERED = 512


class SubmissionEnv(gym.Env[str, str], Generic[_Problem]):
    """An episode is up to `max_attempts` submissions for one problem.

    The observation after a submission is the judge's result. The reward is 1 if all tests passed,
    which ends the episode, and 0 otherwise. The episode ends after the last attempt.

    Each program runs in a folder of its own that ends with it, so the state of an episode is the
    problem, the number of attempts, and whether it is over.

    An instance caches results: the same program gets the same result again, so that repeating an
    action after a rollback gives the same outcome.

    An environment belongs to the first process that uses it: after a fork, its methods raise
    `ForkedUse` in the child, except `close`, which has no effect on the parent's sandboxes.

    Args:
        names: of the problems.
        max_attempts: submissions of an episode; >= 1.
        language: of the submissions.

    Raises:
        UsageError: if `max_attempts` is not an integer >= 1.
    """

    metadata: dict[str, Any] = {"render_modes": [], "prompts": "program"}  # noqa: RUF012

    def __init__(
        self, names: Sequence[str], max_attempts: int, language: Language = PYTHON
    ) -> None:
        if type(max_attempts) is not int or max_attempts < 1:
            raise UsageError(f"max_attempts={max_attempts!r}: expected an integer >= 1")
        self._guard: ProcessGuard | None = None
        self.observation_space = TextSpace()
        self.action_space = TextSpace()
        self.max_attempts = max_attempts
        self.language = language
        self._names = names
        self._problem: _Problem | None = None
        self._name = ""
        self._attempts = 0
        self._over = False
        self._results: OrderedDict[tuple[str, str], JudgeResult] = OrderedDict()

    @abstractmethod
    def load(self, name: str) -> _Problem:
        """The problem called `name`."""

    @abstractmethod
    def instruct(self, problem: _Problem) -> str:
        """The instruction for the agent."""

    @abstractmethod
    def judge(self, problem: _Problem, code: str) -> JudgeResult:
        """Judge a program.

        Raises:
            SandboxError: if the sandbox fails; this is independent of the program.
        """

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, Info]:
        """Start an episode.

        Args:
            seed: selects the problem, if there are several; an integer >= 0.
            options: `{"problem": name}` selects a problem by name.

        Raises:
            UsageError: if the seed is not an integer >= 0, an option is unknown, or no problem has
                that name.
            ForkedUse: after a fork, in the child.
        """
        self._bind()
        options = dict(check_reset(seed, options, ("problem",)))
        super().reset(seed=seed)
        name = options.get("problem")
        if name is None:
            name = self._names[int(self.np_random.integers(len(self._names)))]
        self._start(str(name))
        assert self._problem is not None
        observation = f"Submit a program. Attempts left: {self.max_attempts}."
        return observation, {
            "instruction": self.instruct(self._problem),
            "won": False,
            "score": 0.0,
        }

    def step(self, action: str) -> tuple[str, float, bool, bool, Info]:
        """Submit a program: plain, or in a code fence within other text.

        Raises:
            ResetNeeded: if no episode is running.
            UsageError: if the action is not a string.
            ForkedUse: after a fork, in the child.
            SandboxError: if the sandbox fails; the attempt does not count.
        """
        self._bind()
        if not isinstance(action, str):
            raise UsageError(f"action {action!r:.80}: expected a string, the program to submit")
        if self._problem is None or self._over:
            raise ResetNeeded("no episode is running; call reset() before step()")
        result = self._judge_action(self._problem, action)
        self._attempts += 1
        left = self.max_attempts - self._attempts
        self._over = result.accepted or not left
        observation = result.observation
        if not self._over:
            observation += f"\nAttempts left: {left}."
        info: Info = {
            "won": result.accepted,
            "score": result.score,
            "feedback": result.feedback,
        }
        return observation, float(result.accepted), self._over, False, info

    def get_state(self) -> State:
        """The state of the episode without `np_random`.

        Raises:
            ResetNeeded: if no episode was started.
            ForkedUse: after a fork, in the child.
        """
        self._bind()
        if self._problem is None:
            raise ResetNeeded("no episode was started; call reset() first")
        return self._name, self._attempts, self._over

    def set_state(self, state: State) -> None:
        """Restore a state that `get_state` of an equally configured environment returned.

        Raises:
            UsageError: if `state` is no such state.
            ForkedUse: after a fork, in the child.
        """
        self._bind()
        if not isinstance(state, tuple) or tuple(map(type, state)) != (str, int, bool):
            raise UsageError(f"state {state!r:.80}: expected what get_state() returned")
        name, attempts, over = state
        self._start(name)
        self._attempts, self._over = attempts, over

    def close(self) -> None:
        """Close the sandboxes; a later episode starts others."""
        self._guard = None

    def __getstate__(self) -> Mapping[str, Any]:
        raise TypeError("the environment holds a sandbox; use get_state() and set_state()")

    def _bind(self) -> None:
        """Bind the environment to the first process that uses it; raise `ForkedUse` in another."""
        if self._guard is None:
            self._guard = ProcessGuard("a code environment")
        self._guard.check()

    def _start(self, name: str) -> None:
        if self._problem is None or name != self._name:
            self._problem = self.load(name)
        self._name, self._attempts, self._over = name, 0, False

    def _judge_action(self, problem: _Problem, action: str) -> JudgeResult:
        code = extract_code(action, self.language)
        if not code.strip():
            return JudgeResult(kind="no code", detail="Put the program in a code fence.")
        if len(code) > MAX_CODE:
            return JudgeResult(kind="no code", detail=f"At most {MAX_CODE} characters.")
        key = (self._name, code)
        known = self._results.get(key)
        if known is None:
            known = self._results[key] = self.judge(problem, code)
            if len(self._results) > _REMEMBERED:
                self._results.popitem(last=False)
        return known
