"""Judging a function by assertions, so that the function never meets what it is compared with.

The solution runs in one sandbox and is asked for values; the tests run in another, where the
function is a stub that hands these values out. Nothing that the solution does to its own process
(leaving it, patching equality, reading frames or files, printing verdicts) reaches the decision.
Public and hidden tests are asked for in separate processes, so that nothing of a hidden test can
be carried into what the agent reads about a public one.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from leafe_gym.envs.code import harness
from leafe_gym.envs.code.call_plan import CallPlan, plan_calls
from leafe_gym.envs.code.judge_result import JudgeResult, ResultKind, clip
from leafe_gym.envs.code.language import PYTHON_COMMAND
from leafe_gym.envs.code.program_runner import ProgramRunner
from leafe_gym.envs.code.value_text import encoded_value_text
from leafe_gym.sandbox.base import ProgramResult, SandboxLimits
from leafe_gym.types import Json

MAX_ROUNDS = 8
"""How often tests may ask for further calls whose arguments depend on earlier answers."""

MAX_CALLS = 2000
_OUTPUT = 8 * 2**20
_DETAIL = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionProblem:
    """A function to write, and the assertions that decide.

    Attributes:
        name: unique within its file.
        text: what the function is to do, as the agent reads it, with its public tests.
        entry: name of the function.
        code: the reference solution.
        tests: Python sources that decide, each an assertion or a body defining `check`.
        public: how many of the first `tests` the agent knows.
        examples: further public assertions, which do not decide.
        prelude: source that stands before the solution and before the tests.
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
        """How many of examples and tests together, from the first, the agent knows."""
        return len(self.examples) + self.public


@dataclass(slots=True)
class _Answers:
    """What the solution answered to some calls.

    Attributes:
        outcomes: one per call; None where it never answered.
        ending: why answers are missing; None where none are.
        text: the traceback of code that did not load.
    """

    outcomes: list[Json]
    ending: ResultKind | None = None
    text: str = ""


@dataclass(slots=True)
class FunctionJudge:
    """Judges solutions of function problems.

    Attributes:
        solutions: where solutions run.
        tests: where tests run; never the same.
        seconds: processor time for all calls of a solution together.
        memory_mb: memory of a solution.
    """

    solutions: ProgramRunner
    tests: ProgramRunner
    seconds: float = 5.0
    memory_mb: int = 512
    _collected: dict[str, list[Json]] = field(default_factory=dict)

    def judge(self, problem: FunctionProblem, code: str) -> JudgeResult:
        """Judge one solution.

        Raises:
            SandboxError: if a sandbox fails; that says nothing of the solution.
        """
        plan = _plan(problem)
        total = len(plan.tests)
        known = sum(one < problem.shown for one in plan.owner)
        public = self._ask(problem, code, plan, plan.calls[:known])
        if public.ending is not None and public.text:
            return JudgeResult(kind=public.ending, tests=total, detail=public.text)
        dynamic = self._calls(problem, plan)
        for _ in range(MAX_ROUNDS):
            asked = [*plan.calls[known:], *dynamic]
            if public.ending is None:
                hidden = self._ask(problem, code, plan, asked)
            else:  # it hangs or dies already where the agent can see it
                hidden = _Answers([None] * len(asked), public.ending)
            static = public.outcomes + hidden.outcomes[: len(plan.calls) - known]
            rest = hidden.outcomes[len(plan.calls) - known :]
            results, wanted = self._decide(problem, plan, static, dynamic, rest)
            if "need" not in results or not wanted or len(dynamic) + len(wanted) > MAX_CALLS:
                break
            dynamic = [*dynamic, *wanted]
        return _verdict(problem, plan, results, static, public, hidden)

    def _ask(
        self, problem: FunctionProblem, code: str, plan: CallPlan, calls: Sequence[Json]
    ) -> _Answers:
        """Run the solution and have it answer `calls`."""
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
        result = self.solutions.run(_command("candidate"), json.dumps(request), limits)
        return _read_answers(result, nonce, len(calls))

    def _calls(self, problem: FunctionProblem, plan: CallPlan) -> list[Json]:
        """The calls that the dynamic tests make as far as they do not depend on answers."""
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
        """(what came of each test up to the first that failed, calls without an answer)."""
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
        }
        limits = self._limits(2 * self.seconds, 2 * self.memory_mb)
        result = self.tests.run(_command("judge"), json.dumps(request), limits)
        for line in result.stdout.splitlines():
            if line.startswith(nonce):
                data = json.loads(line.removeprefix(nonce))
                return data["results"], data["wanted"]
        return ["undecided"], []

    def _limits(self, seconds: float, memory_mb: int) -> SandboxLimits:
        return SandboxLimits(
            call_s=2 * seconds + 2, cpu_s=seconds, memory_mb=memory_mb, output_bytes=_OUTPUT
        )


@lru_cache(maxsize=4096)
def _plan(problem: FunctionProblem) -> CallPlan:
    return plan_calls([*problem.examples, *problem.tests], problem.entry)


def _command(program: str) -> tuple[str, ...]:
    return (*PYTHON_COMMAND, "-S", "-c", harness.source(program))


def _read_answers(result: ProgramResult, nonce: str, count: int) -> _Answers:
    """What the process said; anything else on its output is ignored."""
    outcomes: list[Json] = [None] * count
    done = False
    for line in result.stdout.splitlines():
        message = _message(line, nonce)
        if "failed" in message:
            name = str(message.get("error"))
            ending: ResultKind = "compile error" if name == "SyntaxError" else _kind_of(name)
            text = clip(str(message.get("text")), _DETAIL)
            return _Answers(outcomes, ending, text)
        number = message.get("call")
        if type(number) is int and 0 <= number < count and outcomes[number] is None:
            outcomes[number] = message
        done = done or "done" in message
    if done:
        return _Answers(outcomes)
    return _Answers(outcomes, kind_of_ending(result))


def _message(line: str, nonce: str) -> dict[str, Json]:
    """One line of the channel, or an empty message for anything else."""
    if not line.startswith(nonce):
        return {}
    try:
        message = json.loads(line.removeprefix(nonce))
        json.dumps(message)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


def kind_of_ending(result: ProgramResult) -> ResultKind:
    """The class of a failure, from how a process ended."""
    if result.out_of_memory:
        return "memory limit exceeded"
    if result.timed_out:
        return "time limit exceeded"
    if result.truncated:
        return "output limit exceeded"
    return "runtime error"


def _kind_of(error: str) -> ResultKind:
    return "memory limit exceeded" if error == "MemoryError" else "runtime error"


def _verdict(
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
    if results[at] == "lost" or any(one is None for _, one in outcomes):
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
