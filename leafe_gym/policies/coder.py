"""A fallible programmer that writes what it knows: for the tests and the examples.

It knows the reference and some failing solutions of each problem and reads what any chat model
would read: the statement, its own submissions, verdicts, a tip, the environment's comments when
it looks back. How often it hands in a failing solution is chance; the tip it writes names the kind
of solution to leave alone, and it follows such tips.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from leafe_gym.envs.code import contest_set
from leafe_gym.envs.code.function_files import SOURCE, FunctionFile, read_functions
from leafe_gym.envs.code.functions import FunctionProblem
from leafe_gym.envs.code.mbpp import builtin
from leafe_gym.envs.code.problem_files import find_file
from leafe_gym.errors import PolicyError
from leafe_gym.types import Completion, Message, Sampling

Solutions = Mapping[str, str]
"""ResultKind -> code; the kind "reference" solves the problem."""

_TIP = re.compile(r"not the (\w+) one")
_COMMENT = re.compile(r"^- action (\d+): (.+)$", re.MULTILINE)
_KIND = re.compile(r"^# (\w+)$", re.MULTILINE)


class Coder:
    """See the module.

    Args:
        solutions: text of each problem, as its instruction shows it -> its solutions.
        fails: chance of handing in a failing solution at temperature 1, 0 to 1; it scales with
            the temperature.
        kinds: the failing kinds it falls for; None for all it knows.
    """

    def __init__(
        self,
        solutions: Mapping[str, Solutions],
        fails: float = 0.6,
        kinds: Sequence[str] | None = None,
    ) -> None:
        self.fails = fails
        self.kinds = None if kinds is None else tuple(kinds)
        self.name = f"scripted-coder(fails={fails}, kinds={self.kinds}, knows={len(solutions)})"
        self._solutions = solutions

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """A reply in the form the prompt set `code` asks for.

        Raises:
            PolicyError: if it does not know the problem.
        """
        rng = np.random.default_rng(sampling.seed)
        last = messages[-1]["content"]
        if "JSON object" in last:
            return Completion(text=_look_back(messages))
        known = self._known(messages[1]["content"])
        avoid = set(_TIP.findall(last))
        failing = [kind for kind in known if kind != "reference" and kind not in avoid]
        if self.kinds is not None:
            failing = [kind for kind in failing if kind in self.kinds]
        kind = "reference"
        if failing and rng.random() < self.fails * min(1.0, sampling.temperature):
            kind = str(rng.choice(failing))
        return Completion(text=f"My solution:\n```python\n# {kind}\n{known[kind].rstrip()}\n```")

    def _known(self, text: str) -> Solutions:
        for problem, solutions in self._solutions.items():
            if problem in text:
                return solutions
        raise PolicyError("the scripted coder does not know this problem")


def _look_back(messages: Sequence[Message]) -> str:
    turn = messages[-1]["content"]
    replies = [one["content"] for one in messages if one["role"] == "assistant"]
    for number, text in _COMMENT.findall(turn):
        kind = _KIND.search(replies[int(number)])
        if kind is not None:
            tip = f"{text.rstrip('.').capitalize()}: not the {kind.group(1)} one."
            return _answer(int(number), tip, turn)
    return _answer(None, "Check every limit.", turn)


def _answer(step: int | None, tip: str, turn: str) -> str:
    if '"step"' not in turn:
        return json.dumps({"experience": tip})
    return json.dumps({"step": step, "experience": tip if step is not None else ""})


def contest_solutions() -> dict[str, Solutions]:
    """Of the built-in contest problems."""
    return {sheet.statement: sheet.solutions for sheet in contest_set.builtin_problems().values()}


def function_solutions(file: FunctionFile) -> dict[str, Solutions]:
    """Of a file of functions: its references, and what goes wrong around them."""
    return {one.text: dict(_failing(one)) for one in file.problems.values()}


def _failing(problem: FunctionProblem) -> Iterator[tuple[str, str]]:
    inner = f"_{problem.entry}_right"
    head = f"{problem.code.rstrip()}\n\n{inner} = {problem.entry}\n_calls = 0\n\n"
    wrapped = f"{head}def {problem.entry}(*given):\n    global _calls\n    _calls += 1\n"
    yield "reference", problem.code
    yield "wrong", f"{wrapped}    return [{inner}(*given)]\n"
    yield "partial", f"{wrapped}    return {inner}(*given) if _calls < 2 else [_calls]\n"
    yield "crash", f"{wrapped}    raise IndexError(_calls)\n"


def coder(
    fails: float = 0.6,
    kinds: Sequence[str] | None = None,
    problems: str | os.PathLike[str] | None = None,
) -> Coder:
    """What `lg.policy("scripted-coder")` gives.

    Args:
        fails: see `Coder`.
        kinds: see `Coder`.
        problems: a file in MBPP's or HumanEval's format whose problems it is to know, too.
    """
    known = {**contest_solutions(), **function_solutions(read_functions(builtin()))}
    if problems is not None:
        known |= function_solutions(read_functions(find_file(problems, SOURCE)))
    return Coder(known, fails, kinds)
