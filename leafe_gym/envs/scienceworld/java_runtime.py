"""Locations of Java and of the simulator, with messages that say what to install."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from leafe_gym._optional import require
from leafe_gym.errors import MissingExtra, UsageError

EXTRA, FEATURE = "scienceworld", "ScienceWorld"
_INSTALL_JAVA = (
    "install one (Debian, Ubuntu: apt-get install default-jre-headless) or set JAVA_HOME to the "
    "folder of one"
)


def simulator_jar() -> Path:
    """The simulator's jar, which the package `scienceworld` contains.

    Raises:
        MissingExtra: if the package is not installed.
        UsageError: if the package has no jar.
    """
    spec = find_spec("scienceworld")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra(FEATURE, EXTRA)
    jar = Path(spec.submodule_search_locations[0]) / "scienceworld.jar"
    if not jar.is_file():
        raise UsageError(f"{jar} is missing; {reinstall_advice()}")
    return jar


def py4j_jar() -> str:
    """The path of the jar that Py4J brings.

    Raises:
        MissingExtra: if Py4J is not installed.
    """
    return str(require("py4j.java_gateway", EXTRA, FEATURE).find_jar_path())


def reinstall_advice() -> str:
    """What to do about a simulator that cannot be used."""
    return "install it again: pip install --force-reinstall scienceworld"


def java_command() -> str:
    """The command that starts Java: `$JAVA_HOME/bin/java`, or `java` on the path.

    Raises:
        UsageError: if there is none.
    """
    home = os.environ.get("JAVA_HOME")
    if home:
        command = Path(home) / "bin" / "java"
        if not os.access(command, os.X_OK):
            raise UsageError(f"JAVA_HOME is {home}, which has no bin/java; {_INSTALL_JAVA}")
        return str(command)
    found = shutil.which("java")
    if found is None:
        raise UsageError(
            f"ScienceWorld needs a Java runtime (8 or newer); none was found: {_INSTALL_JAVA}"
        )
    return found


def check_requirements() -> None:
    """Check that everything a game needs is installed; starts nothing.

    Raises:
        MissingExtra: if a package is not installed.
        UsageError: if the jar or Java is missing.
    """
    simulator_jar()
    py4j_jar()
    java_command()
