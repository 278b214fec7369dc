"""Helpers of the code environments' tests, which run in the default sandbox."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from leafe_gym.envs.code.functions import FunctionJudge
from leafe_gym.envs.code.language import PYTHON, Language
from leafe_gym.envs.code.program_runner import ProgramRunner
from leafe_gym.envs.code.programs import ProgramJudge

PLAIN: dict[str, Any] = {"sandbox": "unsandboxed", "allow_unsandboxed": True}
"""Environment arguments for tests that need no isolation."""


@contextmanager
def functions(seconds: float = 5.0, kind: str = "embedded") -> Iterator[FunctionJudge]:
    bare = kind == "unsandboxed"
    runners = [ProgramRunner(kind, allow_unsandboxed=bare) for _ in range(2)]
    judge = FunctionJudge(*runners, seconds)
    yield judge
    judge.solutions.close()
    judge.tests.close()


@contextmanager
def programs(
    language: Language = PYTHON, time_scale: float = 1.0, kind: str = "embedded"
) -> Iterator[ProgramJudge]:
    runner = ProgramRunner(kind, allow_unsandboxed=kind == "unsandboxed")
    yield ProgramJudge(runner, language, time_scale)
    runner.close()


def holder(sandbox: Any) -> int | None:
    """Process id of a sandbox; None if it does not run."""
    owner = getattr(sandbox, "_host", None) or getattr(sandbox, "_interpreter", None)
    child = getattr(owner, "_child", None)
    return child.pid if child is not None and child.returncode is None else None


def write_lines(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path
