"""Judges a function by assertions, isolated from the values that it is compared with.

The solution runs in one sandbox and returns values for given calls. The tests run in another, with
a stub in place of the function that returns these values. Manipulations of the solution's own
process (exiting, patching equality, reading frames or files, printing results) therefore cannot
influence the decision. Public and hidden tests are requested in separate processes, so a solution
cannot copy information about a hidden test into the output for a public one.
"""

from __future__ import annotations

import json
import secrets
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from leafe_gym.envs.code import harness
from leafe_gym.envs.code.call_plan import CallPlan, plan_calls
from leafe_gym.envs.code.judge_result import JudgeResult, ResultKind, clip
from leafe_gym.envs.code.language import PYTHON_COMMAND
from leafe_gym.envs.code.program_runner import ProgramRunner
from leafe_gym.envs.code.value_text import encoded_value_text
from leafe_gym.errors import UsageError
from leafe_gym.sandbox.base import ProgramResult, SandboxLimits
from leafe_gym.types import Json

MAX_REPETITIONS = 8
"""Limit on repetitions for calls whose arguments depend on earlier results."""

MAX_CALLS = 2000
_OUTPUT = 16 * 2**20
_DETAIL = 2000
_LIMITS: dict[str, ResultKind] = {
    one: one
    for one in (
        "time limit exceeded", "memory limit exceeded", "output limit exceeded", "runtime error"
    )
}  # fmt: skip
_MISSING = (
    "the tests of problem {!r} import {}, which the sandbox's Python lacks: "
    "pass sandbox_options={{'packages': [...]}}, or use an image that has it"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionProblem:
    """A function to write, and the assertions that judge it.

    Attributes:
        name: unique within its file.
        text: task description for the agent, with the public tests.
        entry: name of the function.
        code: the reference solution.
        tests: Python sources, each an assertion or a body that defines `check`; all must pass.
        public: how many of the first `tests` are public.
        examples: further public assertions, which are not required to pass.
        prelude: source that runs before the solution and before the tests.
        setup: source that runs after the solution and before the tests.
    """

    name: str
    text: str
    entry: str
    code: str
    tests: tuple[str, ...]
    public: int = 0
    examples: tuple[str, ...] = ()
    prelude: str = ""
    setup: str = ""

    @property
    def shown(self) -> int:
        """Number of public assertions: all examples and the public tests."""
        return len(self.examples) + self.public


@dataclass(slots=True)
class _Answers:
    """Results of a solution for a list of calls.

    Attributes:
        outcomes: one per call; None where the process ended before it.
        ending: why results are missing; None if none are.
        text: traceback of code that failed to load.
        failed: part of the code that failed to load.
    """

    outcomes: list[Json]
    ending: ResultKind | None = None
    text: str = ""
    failed: str = ""


@dataclass(slots=True)
class FunctionJudge:
    """Judges solutions of function problems.

    Attributes:
        solutions: runs solutions.
        tests: runs tests; must use another sandbox.
        seconds: processor time for all calls of a solution together.
        memory_mb: memory of a solution, in MiB.
    """

    solutions: ProgramRunner
    tests: ProgramRunner
    seconds: float = 5.0
    memory_mb: int = 512
    _collected: dict[str, list[Json]] = field(default_factory=dict)
    _in_place: dict[str, bool] = field(default_factory=dict)

    def judge(self, problem: FunctionProblem, code: str) -> JudgeResult:
        """Judge one solution.

        Raises:
            SandboxError: if a sandbox fails; this is independent of the solution.
            UsageError: if the problem's tests import a package that the sandbox lacks.
        """
        plan = _plan(problem)
        total = len(plan.tests)
        known = sum(one < problem.shown for one in plan.owner)
        public = self._ask(problem, code, plan, plan.calls[:known])
        if public.failed in ("prelude", "setup"):  # the sandbox may lack a package that it imports
            self._decide(problem, plan, [None] * len(plan.calls), [], [])
        if public.ending is not None and public.text:
            return JudgeResult(kind=public.ending, tests=total, detail=public.text)
        dynamic = self._calls(problem, plan)
        for _ in range(MAX_REPETITIONS):
            asked = [*plan.calls[known:], *dynamic]
            if public.ending is None:
                hidden = self._ask(problem, code, plan, asked)
            else:  # it already failed on the public tests
                hidden = _Answers([None] * len(asked), public.ending)
            static = public.outcomes + hidden.outcomes[: len(plan.calls) - known]
            rest = hidden.outcomes[len(plan.calls) - known :]
            results, wanted = self._decide(problem, plan, static, dynamic, rest)
            if "need" not in results or not wanted or len(dynamic) + len(wanted) > MAX_CALLS:
                break
            dynamic = [*dynamic, *wanted]
        return _result(problem, plan, results, static, public, hidden)

    def _ask(
        self, problem: FunctionProblem, code: str, plan: CallPlan, calls: Sequence[Json]
    ) -> _Answers:
        """Run the solution and evaluate `calls` in it."""
        nonce = secrets.token_hex(8)
        request = {
            "nonce": nonce,
            "prelude": problem.prelude,
            "code": code,
            "setup": f"{problem.setup}\n{plan.imports}",
            "entry": problem.entry,
            "calls": list(calls),
        }
        limits = self._limits(self.seconds, self.memory_mb)
        result = self.solutions.run(
            _command("candidate"), json.dumps(request), limits, trusted=True
        )
        return _read_answers(result, nonce, len(calls))

    def _calls(self, problem: FunctionProblem, plan: CallPlan) -> list[Json]:
        """The calls in the dynamic tests whose arguments do not depend on results."""
        if all(kind == "static" for kind, _ in plan.tests):
            return []
        if problem.name not in self._collected:
            static = [{"value": None} for _ in plan.calls]
            _, wanted = self._decide(problem, plan, static, [], [], collect=True)
            self._collected[problem.name] = wanted[:MAX_CALLS]
        return self._collected[problem.name]

    def _decide(
        self,
        problem: FunctionProblem,
        plan: CallPlan,
        static: Sequence[Json],
        calls: Sequence[Json],
        answers: Sequence[Json],
        *,
        collect: bool = False,
    ) -> tuple[list[str], list[Json]]:
        """(outcome of each test up to the first failure, calls that have no result yet)."""
        nonce = secrets.token_hex(8)
        request = {
            "nonce": nonce,
            "prelude": problem.prelude,
            "setup": problem.setup,
            "entry": problem.entry,
            "tests": plan.tests,
            "examples": len(problem.examples),
            "static": list(static),
            "calls": list(calls),
            "answers": list(answers),
            "collect": collect,
            "in_place": any(one and "changed" in one for one in answers)
            and self._changes_arguments(problem, plan),
        }
        limits = self._limits(2 * self.seconds, 2 * self.memory_mb)
        result = self.tests.run(_command("judge"), json.dumps(request), limits, trusted=True)
        for line in result.stdout.splitlines():
            if line.startswith(nonce):
                data = json.loads(line.removeprefix(nonce))
                for one in data["results"]:
                    if one.startswith("missing "):
                        raise UsageError(_MISSING.format(problem.name, one.partition(" ")[2]))
                return data["results"], data["wanted"]
        return [kind_of_ending(result)], []  # the tests themselves exceeded a limit

    def _changes_arguments(self, problem: FunctionProblem, plan: CallPlan) -> bool:
        """Whether the reference changes its arguments; only then a solution may do so."""
        if problem.name not in self._in_place:
            calls = self._calls(problem, plan)
            answers = self._ask(problem, problem.code, plan, calls).outcomes
            self._in_place[problem.name] = any(one and "changed" in one for one in answers)
        return self._in_place[problem.name]

    def _limits(self, seconds: float, memory_mb: int) -> SandboxLimits:
        return SandboxLimits(
            call_s=2 * seconds + 2, cpu_s=seconds, memory_mb=memory_mb, output_bytes=_OUTPUT
        )


@lru_cache(maxsize=4096)
def _plan(problem: FunctionProblem) -> CallPlan:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return plan_calls([*problem.examples, *problem.tests], problem.entry)


def _command(program: str) -> tuple[str, ...]:
    return (*PYTHON_COMMAND, "-S", "-c", harness.source(program))


def _read_answers(result: ProgramResult, nonce: str, count: int) -> _Answers:
    """Parse the results in the process's output; other output is ignored."""
    outcomes: list[Json] = [None] * count
    done = False
    for line in result.stdout.splitlines():
        message = _message(line, nonce)
        if "failed" in message:
            name = str(message.get("error"))
            ending: ResultKind = "compile error" if name == "SyntaxError" else _kind_of(name)
            text = clip(str(message.get("text")), _DETAIL)
            return _Answers(outcomes, ending, text, str(message["failed"]))
        number = message.get("call")
        if type(number) is int and 0 <= number < count and outcomes[number] is None:
            outcomes[number] = message
        done = done or "done" in message
    if done:
        return _Answers(outcomes)
    return _Answers(outcomes, kind_of_ending(result))


def _message(line: str, nonce: str) -> dict[str, Json]:
    """Parse one line; an empty message if it is not part of the protocol."""
    if not line.startswith(nonce):
        return {}
    try:
        message = json.loads(line.removeprefix(nonce))
        json.dumps(message)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


def kind_of_ending(result: ProgramResult) -> ResultKind:
    """The class of a failure, derived from how the process ended."""
    if result.out_of_memory:
        return "memory limit exceeded"
    if result.timed_out:
        return "time limit exceeded"
    if result.truncated:
        return "output limit exceeded"
    return "runtime error"


def _kind_of(error: str) -> ResultKind:
    return "memory limit exceeded" if error == "MemoryError" else "runtime error"


def _result(
    problem: FunctionProblem,
    plan: CallPlan,
    results: Sequence[str],
    static: Sequence[Json],
    public: _Answers,
    hidden: _Answers,
) -> JudgeResult:
    total, examples = len(plan.tests), len(problem.examples)
    if len(results) == total and all(one == "passed" for one in results[examples:]):
        return JudgeResult(kind="accepted", tests=total)
    at = next((n for n, one in enumerate(results) if one != "passed"), 0)
    known = at < problem.shown
    outcomes = [
        (call, outcome)
        for call, outcome, owner in zip(plan.calls, static, plan.owner, strict=True)
        if owner == at
    ]
    error = next((str(one["error"]) for _, one in outcomes if one and "error" in one), "")
    ending = (public if known else hidden).ending
    kind: ResultKind = "wrong answer"
    if results[at] in _LIMITS:
        kind = _LIMITS[results[at]]
    elif results[at] == "lost" or any(one is None for _, one in outcomes):
        kind = ending or "runtime error"
    elif error:
        kind = _kind_of(error)
    detail = _detail([*problem.examples, *problem.tests][at], outcomes) if known else ""
    return JudgeResult(kind=kind, test=at + 1, tests=total, public=known, detail=detail)


def _detail(test: str, outcomes: Sequence[tuple[str, Json]]) -> str:
    lines = [clip(test)]
    for call, outcome in outcomes:
        if outcome is None:
            lines.append(f"{clip(call)} gave no answer.")
        elif "error" in outcome:
            lines.append(f"{clip(call)} raised\n{clip(str(outcome.get('text')), _DETAIL)}".rstrip())
        else:
            lines.append(f"{clip(call)} returned {clip(encoded_value_text(outcome.get('value')))}")
    return "\n".join(lines)
