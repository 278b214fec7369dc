"""A programmer that makes mistakes: for the tests and the examples of code environments.

It knows the reference and some failing solutions of each problem. It submits a failing solution
with probability `fails`, names the kind of that solution when it reflects on the environment's
comments, and avoids the kinds that an experience names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from leafe_gym.envs.code import contest_set
from leafe_gym.envs.code.function_files import SOURCE, FunctionFile, read_functions
from leafe_gym.envs.code.functions import FunctionProblem
from leafe_gym.envs.code.mbpp import builtin
from leafe_gym.envs.data_files import find_data
from leafe_gym.errors import PolicyError
from leafe_gym.testing.players.base import FoundMistake, ScriptedPlayer, probability
from leafe_gym.types import Message, Sampling

Solutions = Mapping[str, str]
"""Kind -> code; the kind "reference" solves the problem."""

_AVOID = re.compile(r"not the (\w+) one")
_COMMENT = re.compile(r"^- action (\d+): (.+)$", re.MULTILINE)
_KIND = re.compile(r"^# (\w+)$", re.MULTILINE)


class Coder(ScriptedPlayer):
    """Submits known solutions, some of them failing; see the module's docstring.

    Args:
        solutions: text of each problem, as its instruction shows it -> its solutions.
        fails: probability of submitting a failing solution at temperature 1, 0 to 1; it scales
            with the temperature.
        kinds: the failing kinds that it submits; None for all it knows.

    Raises:
        UsageError: if `fails` is not a probability.
    """

    def __init__(
        self,
        solutions: Mapping[str, Solutions],
        fails: float = 0.6,
        kinds: Sequence[str] | None = None,
    ) -> None:
        self.fails = probability("fails", fails)
        self.kinds = None if kinds is None else tuple(kinds)
        self._solutions = solutions
        name = f"scripted-coder(fails={fails}, kinds={self.kinds}, knows={len(solutions)})"
        super().__init__(self._submit, _reflect, name=name, default="Check every limit.")

    def _submit(self, messages: Sequence[Message], sampling: Sampling) -> str:
        rng = np.random.default_rng(sampling.seed)
        known = self._known(messages[1]["content"])
        avoid = set(_AVOID.findall(messages[-1]["content"]))
        failing = [kind for kind in known if kind != "reference" and kind not in avoid]
        if self.kinds is not None:
            failing = [kind for kind in failing if kind in self.kinds]
        kind = "reference"
        if failing and rng.random() < self.fails * min(1.0, sampling.temperature):
            kind = str(rng.choice(failing))
        return f"My solution:\n```python\n# {kind}\n{known[kind].rstrip()}\n```"

    def _known(self, text: str) -> Solutions:
        for problem, solutions in self._solutions.items():
            if problem in text:
                return solutions
        raise PolicyError("the scripted coder does not know this problem")


def _reflect(messages: Sequence[Message], _: Sampling) -> FoundMistake | None:
    replies = [one["content"] for one in messages if one["role"] == "assistant"]
    for number, text in _COMMENT.findall(messages[-1]["content"]):
        kind = _KIND.search(replies[int(number)])
        if kind is not None:
            experience = f"{text.rstrip('.').capitalize()}: not the {kind.group(1)} one."
            return FoundMistake(int(number), experience)
    return None


def contest_solutions() -> dict[str, Solutions]:
    """Solutions of the built-in contest problems."""
    return {sheet.statement: sheet.solutions for sheet in contest_set.builtin_problems().values()}


def function_solutions(file: FunctionFile) -> dict[str, Solutions]:
    """Solutions of a file of functions: the references, and failing variants of them."""
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
    """The policy `scripted-coder`.

    Args:
        fails: see `Coder`.
        kinds: see `Coder`.
        problems: a file in MBPP's or HumanEval's format whose problems it knows as well.
    """
    known = {**contest_solutions(), **function_solutions(read_functions(builtin()))}
    if problems is not None:
        known |= function_solutions(read_functions(find_data(problems, SOURCE)))
    return Coder(known, fails, kinds)
