"""Java and the simulator: where they are, or what to install."""

from __future__ import annotations

import os
import shutil
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from leafe_gym.errors import MissingExtra, UsageError

_JAVA_HINT = (
    "install one (Debian, Ubuntu: apt-get install default-jre-headless) or set JAVA_HOME to the "
    "folder of one"
)


def py4j(module: str) -> Any:
    """A module of `py4j`, through which Python and Java talk.

    Raises:
        MissingExtra: if it is not installed.
    """
    try:
        return import_module(f"py4j.{module}")
    except ImportError as error:
        raise MissingExtra("ScienceWorld", "scienceworld") from error


def simulator() -> Path:
    """The simulator's jar, which comes with the package `scienceworld`.

    Raises:
        MissingExtra: if the package is not installed.
        UsageError: if it has no jar.
    """
    spec = find_spec("scienceworld")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra("ScienceWorld", "scienceworld")
    jar = Path(spec.submodule_search_locations[0]) / "scienceworld.jar"
    if not jar.is_file():
        raise UsageError(f"{jar} is missing; {reinstall()}")
    return jar


def reinstall() -> str:
    """What to do about a simulator that cannot be used."""
    return "install it again: pip install --force-reinstall scienceworld"


def java() -> str:
    """The command that starts Java: `$JAVA_HOME/bin/java`, or the one on the path.

    Raises:
        UsageError: if there is none.
    """
    home = os.environ.get("JAVA_HOME")
    if home:
        command = Path(home) / "bin" / "java"
        if not os.access(command, os.X_OK):
            raise UsageError(f"JAVA_HOME is {home}, which has no bin/java; {_JAVA_HINT}")
        return str(command)
    found = shutil.which("java")
    if found is None:
        raise UsageError(
            f"ScienceWorld needs a Java runtime (8 or newer), and there is none; {_JAVA_HINT}"
        )
    return found


def need() -> None:
    """Fail early where something that a game needs is not there.

    Raises:
        MissingExtra: if a package is not installed.
        UsageError: if the jar or Java is missing.
    """
    simulator()
    py4j("java_gateway")
    java()
