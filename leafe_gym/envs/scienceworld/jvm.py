"""Calls into the Java process, one at a time, for any number of games that do not meet.

Java hands out identity hashes at random, and the simulator lists what is in a room in the order
of those hashes; so they are all made equal, and sets keep the order in which they were filled.

The simulator keeps some of a game in statics: its generator of random numbers, the number of the
next thing, the simplifications in force. `Jvm.turn` puts those of a game in place before it is its
turn, which makes games in one process independent.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from leafe_gym.envs.scienceworld.library import reinstall, simulator
from leafe_gym.envs.scienceworld.process import JavaProcess
from leafe_gym.envs.scienceworld.wire import JavaError, Ref, Value, Wire, a_ref
from leafe_gym.errors import EnvironmentFailure, UsageError

_PATIENCE = 300.0
"""Seconds after which a call counts as hung; a gold path takes up to 30 on a busy machine."""

_SERVER = "scienceworld.runtime.pythonapi.PythonInterface"
_RULES = "main.scala.scienceworld.runtime.SimplifierProcessor$"

_connected: weakref.WeakSet[Jvm] = weakref.WeakSet()


class Jvm:
    """A running process; see `pool`, which shares one.

    Attributes:
        lock: held during each call.

    Raises:
        MissingExtra: if a package is not installed.
        UsageError: if Java or the simulator cannot be started.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._current: Statics | None = None
        self._lost = ""
        self._process = JavaProcess()
        _connected.add(self)
        self._wire: Wire | None = None
        try:
            with self.talk() as wire:
                self._reach(wire)
        except EnvironmentFailure as error:
            self.stop()
            raise UsageError(f"{simulator()} cannot be used ({error}); {reinstall()}") from error

    def _reach(self, wire: Wire) -> None:
        """Look up what is needed again and again."""
        # The simulator tells about each step at length; to be set before Scala remembers where to.
        nowhere = wire.new("java.io.FileOutputStream", "/dev/null")
        buffer = wire.new("java.io.BufferedOutputStream", nowhere, 65536)
        out = wire.new("java.io.PrintStream", buffer)
        wire.static("java.lang.System", "setOut", out)

        def find(name: str) -> Ref:
            return a_ref(wire.static("java.lang.Class", "forName", name))

        def module(name: str) -> Ref:
            return a_ref(
                wire.call(a_ref(wire.call(find(name), "getField", "MODULE$")), "get", None)
            )

        def field(name: str, attribute: str) -> Ref:
            found = a_ref(wire.call(find(name), "getDeclaredField", attribute))
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
        """Whether it can be talked to."""
        return not self._lost and self._process.alive

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    @contextmanager
    def talk(self) -> Iterator[Wire]:
        """Calls into Java, one thread at a time, with their errors made clear.

        Raises:
            EnvironmentFailure: if the simulator fails or the process is gone.
        """
        with self.lock:
            if not self.alive:
                raise self._gone()
            try:
                if self._wire is None:
                    self._wire = Wire(self._process.port, self._process.token, _PATIENCE)
                yield self._wire
            except JavaError as error:
                raise EnvironmentFailure(f"ScienceWorld failed: {error}") from error
            except OSError as error:
                raise self._gone() from error
            except (Exception, GeneratorExit):
                raise
            except BaseException:
                # Interrupted: Java may still be at it, and what it does is not known.
                self._end("was ended at an interrupt", at_once=True)
                raise

    @contextmanager
    def turn(self, statics: Statics) -> Iterator[Wire]:
        """Calls that belong to one game.

        Raises:
            EnvironmentFailure: see `talk`.
        """
        with self.talk() as wire:
            if self._current is not statics:
                if self._current is not None:
                    self._current.next_id = wire.call(self._ids, "count")
                self._current = None
                self._place(wire, self._random, statics.random)
                self._place(wire, self._rules, statics.rules)
                wire.call(self._ids, "count_$eq", statics.next_id)
                self._current = statics
            yield wire

    @contextmanager
    def other_luck(self, wire: Wire, statics: Statics) -> Iterator[None]:
        """In a turn, calls that draw numbers which are not the game's, and always the same."""
        wire.call(self._listing, "setSeed", 0)
        self._place(wire, self._random, self._listing)
        yield
        self._place(wire, self._random, statics.random)

    def new_game(self) -> tuple[Ref, Statics]:
        """A game of the simulator, nothing loaded, and what it has in statics."""
        with self.talk() as wire:
            random = wire.new("java.util.Random", 0)
            statics = Statics(random, wire.new("scala.collection.mutable.ArrayBuffer"))
        with self.turn(statics) as wire:
            return wire.new(_SERVER), statics

    def _place(self, wire: Wire, where: tuple[Ref, Ref], what: Ref) -> None:
        module, field = where
        wire.call(field, "set", module, what)

    # The end

    def stop(self) -> None:
        """End the process; safe to call twice."""
        self._end("was closed")

    def _gone(self) -> EnvironmentFailure:
        if not self._lost:
            how = self._process.death()
            self._end(how or f"did not answer for {_PATIENCE:.0f} s and was ended", at_once=True)
        return EnvironmentFailure(
            f"the Java process of ScienceWorld {self._lost}; reset() or restore() goes on in a new "
            "one"
        )

    def _end(self, how: str, *, at_once: bool = False) -> None:
        self._lost = self._lost or how
        if self._wire is not None:
            self._wire.close()
        self._process.end(at_once=at_once)

    def disown(self) -> None:
        """In a forked child: let go, without a word, of what is the parent's."""
        self._lost = "belongs to the process that this one was forked from"
        self.lock = threading.RLock()
        if self._wire is not None:
            with suppress(OSError):
                self._wire.disown()


class Statics:
    """What one game has in the simulator's statics.

    Attributes:
        random: its generator.
        rules: its simplifications.
        next_id: the number of its next thing; right while another game has its turn.
    """

    def __init__(self, random: Ref, rules: Ref) -> None:
        self.random = random
        self.rules = rules
        self.next_id: Value = 0


def _in_child() -> None:
    for jvm in list(_connected):
        jvm.disown()


os.register_at_fork(after_in_child=_in_child)


def lines(wire: Wire, listed: Value) -> list[str]:
    """A list of strings that is in Java, fetched in one piece."""
    text = str(wire.static("java.lang.String", "join", "\n", listed))
    wire.forget(a_ref(listed))
    return text.split("\n") if text else []
