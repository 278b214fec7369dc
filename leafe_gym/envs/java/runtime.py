"""Locations of Java and of a package's jar, with messages that say what to install."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from leafe_gym._optional import require
from leafe_gym.errors import MissingExtra, UsageError

_INSTALL_JAVA = (
    "install one (Debian, Ubuntu: apt-get install default-jre-headless) or set JAVA_HOME to the "
    "folder of one"
)


class JavaLibrary(NamedTuple):
    """A Python package that contains a jar.

    Attributes:
        package: its name, in Python and for pip.
        jar: file name of the jar within the package.
        extra: the extra of leafe-gym that installs it.
        title: its name in messages.
    """

    package: str
    jar: str
    extra: str
    title: str

    def jar_path(self) -> Path:
        """The jar.

        Raises:
            MissingExtra: if the package is not installed.
            UsageError: if the package has no jar.
        """
        spec = find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            raise MissingExtra(self.title, self.extra)
        jar = Path(spec.submodule_search_locations[0]) / self.jar
        if not jar.is_file():
            raise UsageError(f"{jar} is missing; {self.reinstall_advice()}")
        return jar

    def py4j_jar(self) -> str:
        """The path of the jar that Py4J brings.

        Raises:
            MissingExtra: if Py4J is not installed.
        """
        return str(require("py4j.java_gateway", self.extra, self.title).find_jar_path())

    def reinstall_advice(self) -> str:
        """What to do about a package that cannot be used."""
        return f"install it again: pip install --force-reinstall {self.package.replace('_', '-')}"

    def check(self) -> None:
        """Check that everything a game needs is installed; starts nothing.

        Raises:
            MissingExtra: if a package is not installed.
            UsageError: if the jar or Java is missing.
        """
        self.jar_path()
        self.py4j_jar()
        java_command(self.title)


def java_command(title: str = "This environment") -> str:
    """The command that starts Java: `$JAVA_HOME/bin/java`, or `java` on the path.

    Args:
        title: what needs it, for the message.

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
            f"{title} needs a Java runtime (8 or newer); none was found: {_INSTALL_JAVA}"
        )
    return found
