"""The Java process: start, end, and cleanup.

The process ends when its standard input is closed, which the kernel does however this process
ends. It has its own session, so Ctrl-C does not reach it.
"""

from __future__ import annotations

import atexit
import logging
import os
import subprocess
import tempfile
import weakref
from contextlib import suppress

from leafe_gym.envs.java.runtime import JavaLibrary, java_command
from leafe_gym.errors import UsageError

_LOGGER = logging.getLogger(__name__)

FLAGS = (
    "-XX:+IgnoreUnrecognizedVMOptions",
    "-XX:+UnlockExperimentalVMOptions",
    "-XX:hashCode=2",  # every identity hash is 1; see `scienceworld.jvm`
    "-Xms256m",
    "-Xmn160m",  # loading a game creates many short-lived objects
    "-Xmx1g",
    "-XX:+UseSerialGC",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-UsePerfData",  # no file in /tmp
    "-XX:+ErrorFileToStderr",
)
_GRACE_PERIOD = 5.0
"""Seconds to wait for a voluntary end."""

_running: weakref.WeakSet[JavaProcess] = weakref.WeakSet()


class JavaProcess:
    """A running Java process with a Py4J server.

    Args:
        library: whose jar it runs.

    Attributes:
        port: of the server.
        token: authentication token.

    Raises:
        MissingExtra: if a package is not installed.
        UsageError: if Java or the simulator's jar is missing, or Java does not start.
    """

    def __init__(self, library: JavaLibrary) -> None:
        jar = library.jar_path()
        classes = os.pathsep.join((library.py4j_jar(), str(jar)))
        server = ["py4j.GatewayServer", "--die-on-broken-pipe", "--enable-auth", "0"]
        command = [java_command(library.title), *FLAGS, "-classpath", classes, *server]
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process runs
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                # Simulators read their tables from here; elsewhere they would write some.
                cwd=jar.parent,
                start_new_session=True,
            )
        except OSError as error:
            self._stderr.close()
            raise UsageError(
                f"{command[0]} cannot be started: {error}; set JAVA_HOME to the folder of a Java "
                "runtime"
            ) from error
        _running.add(self)
        _LOGGER.warning("starting Java for %s; the first episode takes 5 to 40 s", library.title)
        self.port, self.token = self._greeting(command[0])

    def _greeting(self, command: str) -> tuple[int, str]:
        assert self._process.stdout is not None
        port, token = (self._process.stdout.readline().decode().strip() for _ in range(2))
        if port.isdigit():
            return int(port), token
        message = self.death() or port or "no output"
        self.end()
        raise UsageError(
            f"{command} did not start the simulator, which needs Java 8 or newer ({message}); "
            "set JAVA_HOME to the folder of a Java runtime"
        )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it is running."""
        return self._process.poll() is None

    def death(self) -> str:
        """How it ended; "" if it is still running after one second."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        code = self._process.poll()
        if code is None:
            return ""
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").split("\n")
        message = [one.strip() for one in lines if one.strip() and not one.startswith("Picked up")]
        how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
        return f"{how}: {' '.join(message[:3])[:300]}" if message else how

    def end(self, *, immediately: bool = False) -> None:
        """End the process; safe to call twice.

        Args:
            immediately: kill it without a grace period.
        """
        _running.discard(self)
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(OSError):
            process.stdin.close()
        try:
            process.wait(0 if immediately else _GRACE_PERIOD)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        self._stderr.close()

    def disown(self) -> None:
        """In a forked child: close its copy of the input, so that Java ends with the parent."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        self._process.returncode = 0


def _at_exit() -> None:
    for process in list(_running):
        process.end()


def _after_fork_in_child() -> None:
    for process in list(_running):
        process.disown()
    _running.clear()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork_in_child)
