"""Programming languages: how a submission becomes something that runs.

One language today. A compiled one is another record: `compile` makes a program of the file, `run`
starts it; both are given to `Sandbox.run_program`.
"""

from __future__ import annotations

from dataclasses import dataclass

from leafe_gym.errors import UsageError

PYTHON_COMMAND = ("env", "PYTHONHASHSEED=0", "python3", "-s", "-P")
"""An interpreter that finds nothing in the work folder to import, and orders sets of text the same
way each time, so that the same submission meets the same verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """How to compile and run a submission.

    Attributes:
        name: as in the environments' `language` argument and on code fences.
        fences: what else may stand on a fence.
        file: name of the submission in the work folder.
        compile: argument vector, run once for each submission; None where nothing is compiled.
        artifact: the file that `compile` makes and that alone is there when `run` runs.
        run: argument vector of one test.
        time_scale: how much slower than the language that time limits are meant for.
    """

    name: str
    fences: tuple[str, ...]
    file: str
    run: tuple[str, ...]
    compile: tuple[str, ...] | None = None
    artifact: str = ""
    time_scale: float = 1.0


PYTHON = Language(
    name="python",
    fences=("py", "python3"),
    file="solution.py",
    run=(*PYTHON_COMMAND, "solution.py"),
)

LANGUAGES = {PYTHON.name: PYTHON}


def language(name: str) -> Language:
    """The language called `name`.

    Raises:
        UsageError: if there is none.
    """
    if name not in LANGUAGES:
        raise UsageError(f"language={name!r}: there is {', '.join(LANGUAGES)}")
    return LANGUAGES[name]
