"""Base class of `CodeContests` and `MBPP`: an episode is a sequence of judged submissions."""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

from leafe_gym.arguments import whole_number
from leafe_gym.envs.code.extract import MAX_CODE, extract_code
from leafe_gym.envs.code.judge_result import JudgeResult
from leafe_gym.envs.code.language import PYTHON, Language
from leafe_gym.envs.text_env import Opening, StepOutcome, TextEnv
from leafe_gym.errors import UsageError

_Problem = TypeVar("_Problem")
State = tuple[str, int, bool]
"""Name of the problem, number of submissions, whether the episode is over."""

_REMEMBERED = 512


class SubmissionEnv(TextEnv, Generic[_Problem]):
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
    one_of = reset_options = ("problem",)
    action_form = "a string, the program to submit"
    process_bound = "a code environment"

    def __init__(
        self, names: Sequence[str], max_attempts: int, language: Language = PYTHON
    ) -> None:
        super().__init__()
        self.max_attempts = whole_number("max_attempts", max_attempts, 1)
        self.language = language
        self._names = names
        self._problem: _Problem | None = None
        self._name = ""
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

    def begin(self, seed: int | None, options: Mapping[str, Any]) -> Opening:
        """Take the problem of the options, else one that the seed selects.

        Raises:
            UsageError: if no problem has that name.
        """
        name = options.get("problem")
        if name is None:
            name = self._names[int(self.np_random.integers(len(self._names)))]
        problem = self._enter(str(name))
        observation = f"Submit a program. Attempts left: {self.max_attempts}."
        return Opening(observation, self.instruct(problem))

    def play(self, action: str) -> StepOutcome:
        """Submit a program: plain, or in a code fence within other text.

        Raises:
            SandboxError: if the sandbox fails; the attempt does not count.
        """
        result = self._judge_action(self._started(self._problem), action)
        left = self.max_attempts - self._steps - 1
        over = result.accepted or not left
        return StepOutcome(
            result.observation if over else f"{result.observation}\nAttempts left: {left}.",
            reward=float(result.accepted),
            terminated=over,
            won=result.accepted,
            score=result.score,
            feedback=result.feedback,
        )

    def get_state(self) -> State:
        """The state of the episode without `np_random`.

        Raises:
            ResetNeeded: if no episode was started.
            ForkedUse: after a fork, in the child.
        """
        self._bind()
        self._started(self._problem)
        return self._name, self._steps, self._over

    def set_state(self, state: State) -> None:
        """Restore a state that `get_state` of an equally configured environment returned.

        Raises:
            UsageError: if `state` is no such state.
            ForkedUse: after a fork, in the child.
        """
        self._bind()
        if not isinstance(state, tuple) or tuple(map(type, state)) != (str, int, bool):
            raise UsageError(f"state {state!r:.80}: expected what get_state() returned")
        name, self._steps, self._over = state
        self._enter(name)

    def _enter(self, name: str) -> _Problem:
        if self._problem is None or name != self._name:
            self._problem = self.load(name)
        self._name = name
        return self._problem

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
