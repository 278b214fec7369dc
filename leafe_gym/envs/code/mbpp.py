"""The Gymnasium environment `leafe/MBPP-v0`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from leafe_gym.envs.arguments import check_above_zero
from leafe_gym.envs.code.function_files import SOURCE, FunctionFile, read_functions
from leafe_gym.envs.code.functions import FunctionJudge, FunctionProblem
from leafe_gym.envs.code.judge_result import JudgeResult
from leafe_gym.envs.code.problem import split_of
from leafe_gym.envs.code.problem_tasks import list_problems, select_problems
from leafe_gym.envs.code.program_runner import ProgramRunner
from leafe_gym.envs.code.submissions import SubmissionEnv
from leafe_gym.envs.data_files import data_argument, find_data, take_data
from leafe_gym.types import Json, Task

ENV_ID = "leafe/MBPP-v0"
SECONDS = 5.0
"""Processor seconds for all calls of a solution together; the data sets define no limit."""


class MbppEnv(SubmissionEnv[FunctionProblem]):
    """Functions to write, judged by assertions: problems in the format of MBPP or HumanEval.

    MBPP: the first assertion is part of the instruction; all of `test_list` must pass. HumanEval:
    the examples in the docstring are public; the hidden `check` must pass. The reward is 1 if all
    tests pass, else 0. The observation is the judge's result; see `CodeContestsEnv`.

    Args:
        data: problem file, `.jsonl` or `.jsonl.gz`; a relative path is also looked for in the
            folder `LEAFE_DATA`. Default a small built-in set in MBPP's format.
        problem: task id of the only problem to use; default all of the split.
        split: use problems of this split only; default all.
        max_attempts: submissions of an episode; >= 1. Published figures use 1.
        time_scale: factor on the time limit of 5 s; > 0.
        sandbox: name of the sandbox in which solutions run; see `leafe_gym.sandbox`.
        allow_unsandboxed: run solutions without isolation if the host cannot run the sandbox.
        sandbox_options: further arguments of `make_sandbox`, such as a container image.
        problems: older name of `data`.

    Raises:
        UsageError: if an argument cannot be used; `BadRecord` for a malformed file.
    """

    def __init__(
        self,
        data: str | os.PathLike[str] | None = None,
        problem: str | None = None,
        split: str | None = None,
        max_attempts: int = 4,
        time_scale: float = 1.0,
        sandbox: str = "embedded",
        allow_unsandboxed: bool = False,
        sandbox_options: Mapping[str, Any] | None = None,
        problems: str | os.PathLike[str] | None = None,
    ) -> None:
        self._file = _file(data_argument(data, "problems", problems))
        super().__init__(
            select_problems(tuple(self._file.problems), problem, split, split_of), max_attempts
        )
        check_above_zero("time_scale", time_scale)
        solutions, tests = (
            ProgramRunner(sandbox, allow_unsandboxed=allow_unsandboxed, options=sandbox_options)
            for _ in range(2)
        )
        self._judge = FunctionJudge(solutions, tests, SECONDS * time_scale)

    @classmethod
    def tasks(cls, split: str = "train", **kwargs: Json) -> Sequence[Task]:
        """One task per problem of the split; the split of a problem depends only on its id.

        Args:
            split: "train", "val", "test", or "all".
            kwargs: arguments of the environment other than `problem` and `split`.

        Raises:
            UsageError: if the split or an argument cannot be used.
        """
        given = take_data(kwargs, "problems")
        file = _file(given)
        where = None if given is None else str(file.path)
        return list_problems(cls, ENV_ID, split, kwargs, tuple(file.problems), split_of, where)

    def load(self, name: str) -> FunctionProblem:
        """The problem with this task id."""
        return self._file.problem(name)

    def instruct(self, problem: FunctionProblem) -> str:
        """The problem's text with its public tests."""
        return (
            f"{problem.text}\nAnswer with Python code that defines the function. You have "
            f"{self.max_attempts} attempts; after each you are told how it went."
        )

    def judge(self, problem: FunctionProblem, code: str) -> JudgeResult:
        """See `FunctionJudge.judge`."""
        return self._judge.judge(problem, code)

    @property
    def sandbox_kind(self) -> str:
        """See `ProgramRunner.kind`."""
        return self._judge.solutions.kind

    def close(self) -> None:
        """Close the sandboxes; a later episode starts others."""
        super().close()
        self._judge.solutions.close()
        self._judge.tests.close()


def _file(given: Any) -> FunctionFile:
    return read_functions(builtin() if given is None else find_data(given, SOURCE, Path.is_file))


def builtin() -> Path:
    """The file of the built-in problems."""
    with resources.as_file(resources.files("leafe_gym.envs.code") / "small_mbpp.jsonl") as path:
        return path
