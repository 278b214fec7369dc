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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from leafe_gym.envs.scienceworld.library import py4j, reinstall, simulator
from leafe_gym.envs.scienceworld.process import JavaProcess
from leafe_gym.errors import EnvironmentFailure, UsageError

_PATIENCE = 300.0
"""Seconds after which a call counts as hung; a gold path takes up to 30 on a busy machine."""

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
        gateway = py4j("java_gateway")
        self._gateway = gateway.JavaGateway(
            gateway_parameters=gateway.GatewayParameters(
                port=self._process.port,
                auth_token=self._process.token,
                read_timeout=_PATIENCE,
                # Its finalisers would talk to Java at any time and from any thread.
                enable_memory_management=False,
            )
        )
        _connected.add(self)
        try:
            with self.talk():
                self._reach()
        except EnvironmentFailure as error:
            self.stop()
            raise UsageError(f"{simulator()} cannot be used ({error}); {reinstall()}") from error

    def _reach(self) -> None:
        """Look up what is needed again and again."""
        java_ = self._gateway.jvm.java
        # The simulator tells about each step at length; before Scala knows where to.
        file = java_.io.FileOutputStream("/dev/null")
        java_.lang.System.setOut(java_.io.PrintStream(java_.io.BufferedOutputStream(file, 65536)))
        find = java_.lang.Class.forName

        def module(name: str) -> Any:
            return find(name).getField("MODULE$").get(None)

        def field(name: str, attribute: str) -> Any:
            found = find(name).getDeclaredField(attribute)
            found.setAccessible(True)
            return found

        processor = "main.scala.scienceworld.runtime.SimplifierProcessor$"
        self._random = module("scala.util.Random$"), field("scala.util.Random", "self")
        self._rules = module(processor), field(processor, "simplifications")
        self._ids = module("util.UniqueIdentifier$")
        self._new_random = java_.util.Random
        self._new_rules = self._gateway.jvm.scala.collection.mutable.ArrayBuffer
        self._new_server = self._gateway.jvm.scienceworld.runtime.pythonapi.PythonInterface
        self._join = java_.lang.String.join
        self._listing = self._new_random(0)
        find("scienceworld.runtime.pythonapi.PythonInterface")

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
    def talk(self) -> Iterator[None]:
        """Calls into Java, one thread at a time, with their errors made clear.

        Raises:
            EnvironmentFailure: if the simulator fails or the process is gone.
        """
        errors = py4j("protocol")
        with self.lock:
            if not self.alive:
                raise self._gone()
            try:
                yield
            except errors.Py4JJavaError as error:
                said = str(error.java_exception.toString()) if self.alive else "process lost"
                raise EnvironmentFailure(f"ScienceWorld failed: {said}") from error
            except (errors.Py4JError, OSError) as error:
                raise self._gone() from error
            except (Exception, GeneratorExit):
                raise
            except BaseException:
                # Interrupted: Java may still be at it, and what it does is not known.
                self._end("was ended at an interrupt", at_once=True)
                raise

    @contextmanager
    def turn(self, statics: Statics) -> Iterator[None]:
        """Calls that belong to one game.

        Raises:
            EnvironmentFailure: see `talk`.
        """
        with self.talk():
            if self._current is not statics:
                if self._current is not None:
                    self._current.next_id = int(self._ids.count())
                self._current = None
                self._place(self._random, statics.random)
                self._place(self._rules, statics.rules)
                getattr(self._ids, "count_$eq")(statics.next_id)
                self._current = statics
            yield

    @contextmanager
    def other_luck(self, statics: Statics) -> Iterator[None]:
        """In a turn, calls that draw numbers which are not the game's, and always the same."""
        self._listing.setSeed(0)
        self._place(self._random, self._listing)
        try:
            yield
        finally:
            self._place(self._random, statics.random)

    def new_statics(self) -> Statics:
        """Those of a new game; within `talk`."""
        return Statics(self._new_random(0), self._new_rules())

    def new_server(self) -> Any:
        """A new game of the simulator, within its turn."""
        return self._new_server()

    def lines(self, listed: Callable[[], Any]) -> list[str]:
        """A list of strings that is in Java, fetched in one piece; within `talk`."""
        them = listed()
        text = str(self._join("\n", them))
        self.forget(them)
        return text.split("\n") if text else []

    def forget(self, *things: Any) -> None:
        """Give up objects in Java; within `talk`."""
        for one in things:
            self._gateway.detach(one)

    def _place(self, where: tuple[Any, Any], what: Any) -> None:
        module, field = where
        field.set(module, what)

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
        self._gateway.close(keep_callback_server=True)
        self._process.end(at_once=at_once)

    def disown(self) -> None:
        """In a forked child: let go, without a word, of what is the parent's."""
        self._lost = "belongs to the process that this one was forked from"
        self.lock = threading.RLock()
        for connection in self._gateway._gateway_client.deque:
            os.close(connection.socket.detach())  # before a finaliser shuts down what is shared


class Statics:
    """What one game has in the simulator's statics.

    Attributes:
        random: its generator.
        rules: its simplifications.
        next_id: the number of its next thing; right while another game has its turn.
    """

    def __init__(self, random: Any, rules: Any) -> None:
        self.random = random
        self.rules = rules
        self.next_id = 0


def _in_child() -> None:
    for jvm in list(_connected):
        jvm.disown()


os.register_at_fork(after_in_child=_in_child)
