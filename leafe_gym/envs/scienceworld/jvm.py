"""The simulator in a Java process, with any number of independent games.

Java assigns identity hashes at random, and the simulator lists the contents of a room in the order
of these hashes. The process is started so that all identity hashes are equal; sets then keep their
insertion order.

The simulator stores part of a game's state in statics: the random generator, the id of the next
object and the active simplifications. `Simulator.active` installs the statics of one game before
its calls, which makes games in one process independent.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from leafe_gym.envs.java.process import JavaProcess
from leafe_gym.envs.java.py4j_client import (
    JavaError,
    JavaRef,
    JavaValue,
    Py4JClient,
    as_ref,
)
from leafe_gym.envs.java.runtime import JavaLibrary
from leafe_gym.errors import EnvironmentFailure, UsageError

LIBRARY = JavaLibrary("scienceworld", "scienceworld.jar", "scienceworld", "ScienceWorld")

_TIMEOUT = 300.0
"""Seconds after which a call fails; a gold path takes up to 30 s on a busy machine."""

_SERVER = "scienceworld.runtime.pythonapi.PythonInterface"
_RULES = "main.scala.scienceworld.runtime.SimplifierProcessor$"

_connected: weakref.WeakSet[Simulator] = weakref.WeakSet()


class Simulator:
    """A running process; `game_pool` shares one.

    Attributes:
        lock: held during each call.

    Raises:
        MissingExtra: if a package is not installed.
        UsageError: if Java or the simulator cannot be started.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._current: Statics | None = None
        self._end_reason = ""
        self._process = JavaProcess(LIBRARY)
        _connected.add(self)
        self._wire: Py4JClient | None = None
        try:
            with self.connection() as wire:
                self._look_up(wire)
        except EnvironmentFailure as error:
            self.stop()
            raise UsageError(
                f"{LIBRARY.jar_path()} cannot be used ({error}); {LIBRARY.reinstall_advice()}"
            ) from error

    def _look_up(self, wire: Py4JClient) -> None:
        """Look up classes and fields that calls use repeatedly."""
        # Discards the simulator's output; must be set before Scala stores the original stream.
        null_stream = wire.new("java.io.FileOutputStream", "/dev/null")
        buffer = wire.new("java.io.BufferedOutputStream", null_stream, 65536)
        out = wire.new("java.io.PrintStream", buffer)
        wire.static("java.lang.System", "setOut", out)

        def find(name: str) -> JavaRef:
            return as_ref(wire.static("java.lang.Class", "forName", name))

        def module(name: str) -> JavaRef:
            return as_ref(
                wire.call(as_ref(wire.call(find(name), "getField", "MODULE$")), "get", None)
            )

        def field(name: str, attribute: str) -> JavaRef:
            found = as_ref(wire.call(find(name), "getDeclaredField", attribute))
            wire.call(found, "setAccessible", True)
            return found

        find(_SERVER)
        self._random = module("scala.util.Random$"), field("scala.util.Random", "self")
        self._rules = module(_RULES), field(_RULES, "simplifications")
        self._ids = module("util.UniqueIdentifier$")
        self._listing = wire.new("java.util.Random", 0)

    # Calls

    @property
    def alive(self) -> bool:
        """Whether calls are possible."""
        return not self._end_reason and self._process.alive

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @contextmanager
    def connection(self) -> Iterator[Py4JClient]:
        """Calls into Java under a lock, with exceptions translated.

        Raises:
            EnvironmentFailure: if the simulator fails or the process is gone.
        """
        with self.lock:
            if not self.alive:
                raise self._gone()
            try:
                if self._wire is None:
                    self._wire = Py4JClient(self._process.port, self._process.token, _TIMEOUT)
                yield self._wire
            except JavaError as error:
                raise EnvironmentFailure(f"ScienceWorld failed: {error}") from error
            except OSError as error:
                raise self._gone() from error
            except (Exception, GeneratorExit):
                raise
            except BaseException:
                # Interrupted: Java may still be executing the call, so its state is unknown.
                self._end("was ended at an interrupt", immediately=True)
                raise

    @contextmanager
    def active(self, statics: Statics) -> Iterator[Py4JClient]:
        """Calls that belong to one game.

        Raises:
            EnvironmentFailure: see `connection`.
        """
        with self.connection() as wire:
            if self._current is not statics:
                if self._current is not None:
                    self._current.next_id = wire.call(self._ids, "count")
                self._current = None
                self._set_static(wire, self._random, statics.random)
                self._set_static(wire, self._rules, statics.rules)
                wire.call(self._ids, "count_$eq", statics.next_id)
                self._current = statics
            yield wire

    @contextmanager
    def fixed_listing_random(self, wire: Py4JClient, statics: Statics) -> Iterator[None]:
        """Within `active`: calls that draw from a fixed generator instead of the game's own."""
        wire.call(self._listing, "setSeed", 0)
        self._set_static(wire, self._random, self._listing)
        yield
        self._set_static(wire, self._random, statics.random)

    def new_game(self) -> tuple[JavaRef, Statics]:
        """A game of the simulator with nothing loaded, and its statics."""
        with self.connection() as wire:
            random = wire.new("java.util.Random", 0)
            statics = Statics(random, wire.new("scala.collection.mutable.ArrayBuffer"))
        with self.active(statics) as wire:
            return wire.new(_SERVER), statics

    def _set_static(
        self, wire: Py4JClient, target: tuple[JavaRef, JavaRef], value: JavaRef
    ) -> None:
        module, field = target
        wire.call(field, "set", module, value)

    # Ending

    def stop(self) -> None:
        """End the process; safe to call twice."""
        self._end("was closed")

    def _gone(self) -> EnvironmentFailure:
        if not self._end_reason:
            how = self._process.death()
            self._end(how or f"did not answer for {_TIMEOUT:.0f} s and was ended", immediately=True)
        return EnvironmentFailure(
            f"the Java process of ScienceWorld {self._end_reason}; "
            "reset() or restore() starts a new one"
        )

    def _end(self, how: str, *, immediately: bool = False) -> None:
        self._end_reason = self._end_reason or how
        if self._wire is not None:
            self._wire.close()
        self._process.end(immediately=immediately)

    def disown(self) -> None:
        """In a forked child: drop the parent's connection without closing it."""
        self._end_reason = "belongs to the process that this one was forked from"
        self.lock = threading.RLock()
        if self._wire is not None:
            with suppress(OSError):
                self._wire.disown()


class Statics:
    """One game's values of the simulator's statics.

    Attributes:
        random: random generator.
        rules: active simplifications.
        next_id: id of the next object; up to date while another game is active.
    """

    def __init__(self, random: JavaRef, rules: JavaRef) -> None:
        self.random = random
        self.rules = rules
        self.next_id: JavaValue = 0


def _after_fork_in_child() -> None:
    for jvm in list(_connected):
        jvm.disown()


os.register_at_fork(after_in_child=_after_fork_in_child)


def lines(wire: Py4JClient, listed: JavaValue) -> list[str]:
    """A Java list of strings, fetched in one call."""
    text = str(wire.static("java.lang.String", "join", "\n", listed))
    wire.forget(as_ref(listed))
    return text.split("\n") if text else []
