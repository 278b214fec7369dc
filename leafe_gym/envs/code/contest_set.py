"""The built-in contest problems: statements, test generators, solutions.

A file in `contest/` is one problem: its difficulty, then sections that begin with `=== name`.
`statement`; `example`, the input of a public test, once per test; `inputs`, Python that defines
`inputs(rng)` and yields the inputs of the hidden tests deterministically; `reference` and the
failing solutions, each Python that defines `solve(text)`. Expected outputs are the reference's.
These files are part of the package and as trusted as its code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from random import Random
from typing import Any

from leafe_gym.envs.code.problem import Case, Cases, Problem
from leafe_gym.errors import UsageError

SECONDS = 1.0
MEMORY_MB = 256
FAILING = ("wrong", "slow", "crash")
"""The failing solutions that every problem has beside its reference."""

_MAIN = "\nimport sys\n\nprint(solve(sys.stdin.read()))\n"


@dataclass(frozen=True, slots=True)
class BuiltinProblem:
    """One problem of the set.

    Attributes:
        name: of the problem.
        difficulty: "easy", "medium" or "hard".
        statement: task description for the agent.
        examples: inputs of the public tests.
        inputs: source of the generator of hidden inputs.
        solutions: complete programs by name: "reference" and each of `FAILING`.
    """

    name: str
    difficulty: str
    statement: str
    examples: tuple[str, ...]
    inputs: str
    solutions: dict[str, str]

    def make_tests(self) -> Cases:
        """Public and hidden tests, with the reference's outputs."""
        solve = _defined(self.solutions["reference"].removesuffix(_MAIN), "solve")
        generate: Callable[[Random], Iterable[str]] = _defined(self.inputs, "inputs")

        def test(text: str) -> Case:
            return Case(text, f"{solve(text)}\n")

        hidden = generate(Random(self.name))
        return Cases(tuple(map(test, self.examples)), tuple(map(test, hidden)))


@cache
def builtin_problems() -> dict[str, BuiltinProblem]:
    """All problems of the set by name, sorted."""
    folder = resources.files("leafe_gym.envs.code") / "contest"
    found = {}
    for file in sorted(folder.iterdir(), key=lambda one: one.name):
        if file.name.endswith(".txt"):
            name = file.name.removesuffix(".txt")
            found[name] = _read(name, file.read_text("utf-8"))
    return found


@cache
def problem(name: str) -> Problem:
    """The problem called `name`.

    Raises:
        UsageError: if there is none.
    """
    if name not in builtin_problems():
        raise UsageError(
            f"no problem is called {name!r}; there are {', '.join(builtin_problems())}"
        )
    built = builtin_problems()[name]
    return Problem(
        name=name,
        description=built.statement,
        make_tests=built.make_tests,
        time_limit=SECONDS,
        memory_mb=MEMORY_MB,
        difficulty=built.difficulty,
    )


def _read(name: str, text: str) -> BuiltinProblem:
    head, *sections = text.split("\n=== ")
    parts = [section.partition("\n") for section in sections]
    one = {title: body for title, _, body in parts}
    return BuiltinProblem(
        name=name,
        difficulty=head.strip(),
        statement=one["statement"].strip(),
        examples=tuple(f"{body.rstrip()}\n" for title, _, body in parts if title == "example"),
        inputs=one["inputs"],
        solutions={title: one[title].rstrip() + "\n" + _MAIN for title in ("reference", *FAILING)},
    )


def _defined(source: str, name: str) -> Any:
    space: dict[str, Any] = {}
    exec(compile(source, f"<{name}>", "exec"), space)
    return space[name]
