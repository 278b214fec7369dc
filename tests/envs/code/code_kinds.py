"""Which sandbox the tests of code environments use: the default, or none where there is none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from leafe_gym.envs.code.desk import Desk
from leafe_gym.envs.code.functions import FunctionJudge
from leafe_gym.envs.code.language import PYTHON, Language
from leafe_gym.envs.code.programs import ProgramJudge

OPTIONS: dict[str, Any] = {"allow_unsandboxed": True}
"""Environment arguments: the default sandbox, or unsandboxed where this host cannot have it.

What is tested here is the judging; what a sandbox stops is tested with the sandboxes."""


@contextmanager
def functions(seconds: float = 5.0) -> Iterator[FunctionJudge]:
    judge = FunctionJudge(Desk("embedded", **OPTIONS), Desk("embedded", **OPTIONS), seconds)
    yield judge
    judge.solutions.close()
    judge.tests.close()


@contextmanager
def programs(language: Language = PYTHON, time_scale: float = 1.0) -> Iterator[ProgramJudge]:
    desk = Desk("embedded", **OPTIONS)
    yield ProgramJudge(desk, language, time_scale)
    desk.close()


def holder(sandbox: Any) -> int | None:
    """The process that a sandbox lives in, as long as there is one."""
    session = getattr(sandbox, "_session", None)
    child = getattr(session, "_child", None)
    return child.pid if child is not None and child.returncode is None else None


def write_lines(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path
