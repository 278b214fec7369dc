"""The Gymnasium environment `leafe/CodeContests-v0`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from leafe_gym.envs.arguments import check_above_zero
from leafe_gym.envs.code import contest_set
from leafe_gym.envs.code.contest_files import SOURCE, ContestFile, read_contests
from leafe_gym.envs.code.judge_result import JudgeResult, clip
from leafe_gym.envs.code.language import language as language_called
from leafe_gym.envs.code.problem import Problem, split_of
from leafe_gym.envs.code.problem_tasks import list_problems, select_problems
from leafe_gym.envs.code.program_runner import ProgramRunner
from leafe_gym.envs.code.programs import ProgramJudge
from leafe_gym.envs.code.submissions import SubmissionEnv
from leafe_gym.envs.data_files import data_argument, find_data, take_data
from leafe_gym.errors import UsageError
from leafe_gym.types import Json, Task

ENV_ID = "leafe/CodeContests-v0"

_INSTRUCTION = """Write a {language} program that solves this problem. It reads standard input and \
writes standard output. Each test may take {seconds:g} s and {memory} MB. You have {attempts} \
attempts; after each you are told how it went. {note}Answer with the whole program.

{statement}
{examples}"""
_EXAMPLE = 4000
"""Longest public test in the instruction, in characters."""


class CodeContestsEnv(SubmissionEnv[Problem]):
    """Programming problems with standard input and output, judged by public and hidden tests.

    The reward is 1 if every test passed, else 0. The observation is the judge's result: for a
    public test its input, the expected and the actual output, or the error; for a hidden test only
    the class of the failure. No text tells how many hidden tests there are, or which one failed.

    With `AgentConfig(reflect_every=None)` a tree reflects when the
    attempts are used up and not in between.

    Args:
        data: file of CodeContests or LiveCodeBench, or a folder with such files (see
            `contest_records`); default the built-in set.
        problem: name of the only problem to use; default all of the split.
        split: use problems of this split only; default all.
        max_attempts: submissions of an episode; >= 1.
        language: of the submissions; "python", "cpp" or "java".
        time_scale: factor on the time limits; > 0.
        sandbox: name of the sandbox in which programs run; see `leafe_gym.sandbox`.
        allow_unsandboxed: run programs without isolation if the host cannot run the sandbox.
        sandbox_options: further arguments of `make_sandbox`, such as a container image.
        several_answers: also use problems whose statement accepts other outputs than the recorded
            one; such an output is then judged wrong.
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
        language: str = "python",
        time_scale: float = 1.0,
        sandbox: str = "embedded",
        allow_unsandboxed: bool = False,
        sandbox_options: Mapping[str, Any] | None = None,
        several_answers: bool = False,
        problems: str | os.PathLike[str] | None = None,
    ) -> None:
        path = data_argument(data, "problems", problems)
        self._file = None if path is None else _file(path)
        if type(several_answers) is not bool:
            raise UsageError(f"several_answers={several_answers!r}: expected True or False")
        known = _names(self._file, several_answers or problem is not None)
        names = select_problems(known, problem, split, split_of)
        super().__init__(names, max_attempts, language_called(language))
        check_above_zero("time_scale", time_scale)
        self._runner = ProgramRunner(
            sandbox, allow_unsandboxed=allow_unsandboxed, options=sandbox_options
        )
        self._judge = ProgramJudge(self._runner, self.language, time_scale)

    @classmethod
    def tasks(cls, split: str = "train", **kwargs: Json) -> Sequence[Task]:
        """One task per problem of the split; the split of a problem depends only on its name.

        Args:
            split: "train", "val", "test", or "all".
            kwargs: arguments of the environment other than `problem` and `split`.

        Raises:
            UsageError: if the split or an argument cannot be used.
        """
        given = take_data(kwargs, "problems")
        file = None if given is None else _file(given)
        where = None if file is None else str(file.path)
        names = _names(file, kwargs.get("several_answers") is True)
        return list_problems(cls, ENV_ID, split, kwargs, names, split_of, where)

    def load(self, name: str) -> Problem:
        """The problem called `name`."""
        return contest_set.problem(name) if self._file is None else self._file.problem(name)

    def instruct(self, problem: Problem) -> str:
        """The statement with its limits and public tests."""
        shown = [
            f"\nExample {number}\nInput:\n{clip(test.input.rstrip(), _EXAMPLE)}\n"
            f"Output:\n{clip(test.output.rstrip(), _EXAMPLE)}"
            for number, test in enumerate(problem.tests.public, 1)
        ]
        return _INSTRUCTION.format(
            language=self.language.title,
            note=self.language.note and f"{self.language.note} ",
            seconds=problem.time_limit,
            memory=problem.memory_mb,
            attempts=self.max_attempts,
            statement=problem.description.strip(),
            examples="\n".join(shown),
        )

    def judge(self, problem: Problem, code: str) -> JudgeResult:
        """See `ProgramJudge.judge`."""
        return self._judge.judge(problem, code)

    @property
    def sandbox_kind(self) -> str:
        """See `ProgramRunner.kind`."""
        return self._runner.kind

    def close(self) -> None:
        """Close the sandboxes; a later episode starts others."""
        super().close()
        self._runner.close()


def _file(given: Any) -> ContestFile:
    return read_contests(find_data(given, SOURCE))


def _names(file: ContestFile | None, several: bool = False) -> Sequence[str]:
    if file is None:
        return tuple(contest_set.builtin_problems())
    return (*file.names, *file.several) if several else file.names
