"""The Java process itself: how it starts, and that nothing of it stays behind.

It ends when its standard input does, which the kernel closes however this process ends. It is in
a session of its own, so Ctrl-C is not meant for it.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import tempfile
import weakref
from contextlib import suppress

from leafe_gym.envs.scienceworld.library import java, py4j, simulator
from leafe_gym.errors import UsageError

FLAGS = (
    "-XX:+IgnoreUnrecognizedVMOptions",
    "-XX:+UnlockExperimentalVMOptions",
    "-XX:hashCode=2",  # every identity hash is 1; see `jvm`
    "-Xms256m",
    "-Xmn160m",  # loading a game makes much that is garbage at once
    "-Xmx1g",
    "-XX:+UseSerialGC",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-UsePerfData",  # no file in /tmp
    "-XX:+ErrorFileToStderr",
)
_FAREWELL = 5.0
"""Seconds it has to end by itself."""

_running: weakref.WeakSet[JavaProcess] = weakref.WeakSet()


class JavaProcess:
    """A running process that serves the simulator.

    Attributes:
        port: where.
        token: what to say first.

    Raises:
        MissingExtra: if a package is not installed.
        UsageError: if Java or the simulator's jar is missing, or Java does not start.
    """

    def __init__(self) -> None:
        jar = simulator()
        classes = os.pathsep.join((py4j("java_gateway").find_jar_path(), str(jar)))
        server = ["py4j.GatewayServer", "--die-on-broken-pipe", "--enable-auth", "0"]
        command = [java(), *FLAGS, "-classpath", classes, *server]
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                # It looks for its table of types where it starts; without one it would write one.
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
        self.port, self.token = self._greeting(command[0])

    def _greeting(self, command: str) -> tuple[int, str]:
        assert self._process.stdout is not None
        port, token = (self._process.stdout.readline().decode().strip() for _ in range(2))
        if port.isdigit():
            return int(port), token
        told = self.death() or port or "no output"
        self.end()
        raise UsageError(
            f"{command} did not start the simulator, which needs Java 8 or newer ({told}); "
            "set JAVA_HOME to the folder of a Java runtime"
        )

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def death(self) -> str:
        """How it ended, in words; "" if it has not, after a second of patience."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        code = self._process.poll()
        if code is None:
            return ""
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").split("\n")
        told = [one.strip() for one in lines if one.strip() and not one.startswith("Picked up")]
        how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
        return f"{how}: {' '.join(told[:3])[:300]}" if told else how

    def end(self, *, at_once: bool = False) -> None:
        """Have it end; safe to call twice.

        Args:
            at_once: without giving it time to.
        """
        _running.discard(self)
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(OSError):
            process.stdin.close()
        try:
            process.wait(0 if at_once else _FAREWELL)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        self._stderr.close()

    def disown(self) -> None:
        """In a forked child: it is the parent's, and must not wait for the child's end."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        self._process.returncode = 0


def _at_exit() -> None:
    for process in list(_running):
        process.end()


def _in_child() -> None:
    for process in list(_running):
        process.disown()
    _running.clear()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_in_child)
