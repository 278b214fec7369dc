"""One running game of TextWorldExpress, and the Java process that all games of a process share.

The simulator keeps part of a game in statics, so only the game that was generated last is intact. A
game that continues after another one is generated again, and its actions are repeated.
"""

from __future__ import annotations

import json
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any, NamedTuple

from leafe_gym.envs.java.process import JavaProcess
from leafe_gym.envs.java.py4j_client import JavaError, JavaRef, Py4JClient, as_ref
from leafe_gym.envs.java.runtime import JavaLibrary
from leafe_gym.errors import EnvironmentFailure, RestoreMismatch, UsageError

LIBRARY = JavaLibrary(
    "textworld_express", "textworld-express.jar", "textworld-express", "TextWorldExpress"
)
FOLDS = {"train": "train", "val": "dev", "test": "test"}
"""Split -> the library's name of it."""

_INTERFACE = "textworldexpress.runtime.PythonInterface"
_TIMEOUT = 120.0
"""Seconds after which a call fails."""


class ExpressScenario(NamedTuple):
    """What a game is generated from.

    Attributes:
        game: the library's name.
        params: its parameters, "name=value" joined by commas.
        split: a key of `FOLDS`.
        seed: the library's seed.
    """

    game: str
    params: str
    split: str
    seed: int


class ExpressAnswer(NamedTuple):
    """What the simulator says about a state.

    Attributes:
        text: the observation.
        score: share of the points; negative where points were lost.
        won: the task is done.
        lost: the task has failed.
        commands: the actions that are possible now, sorted.
    """

    text: str
    score: float
    won: bool
    lost: bool
    commands: tuple[str, ...]

    def digest(self) -> int:
        """A hash of all of it, equal on all machines."""
        text = json.dumps(self)
        return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


class SharedJava:
    """The Java process of this Python process; it ends with the last game that uses it.

    Attributes:
        lock: held during each call.
        pid: of the Python process.
        intact: the game that was generated last, as its `id`; 0 for none.
    """

    def __init__(self) -> None:
        self.lock, self.pid = threading.RLock(), os.getpid()
        self._process = JavaProcess(LIBRARY)
        self._wire = Py4JClient(self._process.port, self._process.token, _TIMEOUT)
        self.usable, self.intact = True, 0
        self._finalizer = weakref.finalize(self, _end, self._wire, self._process)

    @contextmanager
    def calls(self) -> Iterator[Py4JClient]:
        """Calls into Java under a lock.

        Raises:
            EnvironmentFailure: if the simulator fails or its process is gone.
        """
        with self.lock:
            if not self.usable or not self._process.alive:
                raise self._gone()
            try:
                yield self._wire
            except JavaError as error:
                raise EnvironmentFailure(f"{LIBRARY.title} failed: {error}") from error
            except OSError as error:
                raise self._gone() from error
            except (Exception, GeneratorExit):
                raise
            except BaseException:  # interrupted: the answer of this call is still to come
                self._gone()
                raise

    def disown(self) -> None:
        """In a forked child: drop the parent's connection without closing it."""
        self.usable = False
        self._finalizer.detach()
        self._wire.disown()

    def _gone(self) -> EnvironmentFailure:
        self.usable = False
        self._finalizer()
        return EnvironmentFailure(
            f"the Java process of {LIBRARY.title} is gone; reset() or restore() starts a new one"
        )


class ExpressGame:
    """One game; not thread-safe.

    Attributes:
        task: the description of the task.
        answer: the last answer.
        history: the actions taken.
    """

    def __init__(self) -> None:
        self._java = _shared_java()
        with self._java.calls() as wire:
            self._game = wire.new(_INTERFACE)
        weakref.finalize(self, _forget, self._java, self._game)
        self._scenario: ExpressScenario | None = None
        self.history: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether its Java process is there, and is this process's own."""
        return self._java.usable and self._java.pid == os.getpid()

    def begin(self, scenario: ExpressScenario, gold: bool = False) -> ExpressAnswer:
        """Generate a game; returns its first answer.

        Args:
            scenario: what to generate.
            gold: also have the library solve it.

        Raises:
            UsageError: if the library does not know the game or a parameter.
            EnvironmentFailure: if the simulator fails.
        """
        self._scenario = None
        with self._java.calls() as wire:
            self._java.intact = 0
            wrong = wire.call(self._game, "load", scenario.game, scenario.params)
            if wrong:
                raise UsageError(f"TextWorldExpress cannot load {scenario[:2]}: {wrong}")
            fold = FOLDS[scenario.split]
            said = wire.call(self._game, "generateNewGameJSON", scenario.seed, fold, gold)
            self.task = str(wire.call(self._game, "getTaskDescription"))
            self._java.intact = id(self)
        self.answer = _read(said)
        self._scenario, self.history = scenario, ()
        return self.answer

    def step(self, action: str) -> ExpressAnswer:
        """Take an action; returns the answer.

        Raises:
            EnvironmentFailure: if the simulator fails.
        """
        with self._java.lock:
            if self._scenario is not None and self._java.intact != id(self):
                self.replay(self._scenario, self.history, self.answer.digest())
            return self._step(action)

    def _step(self, action: str) -> ExpressAnswer:
        scenario, self._scenario = self._scenario, None  # unknown where the call fails
        with self._java.calls() as wire:
            said = wire.call(self._game, "stepJSON", action)
        self.answer = _read(said)
        self._scenario, self.history = scenario, (*self.history, action)
        return self.answer

    def gold_path(self, scenario: ExpressScenario) -> list[str]:
        """The library's own solution of a game, up to the action that wins; empty if none does.

        Raises:
            UsageError: see `begin`.
            EnvironmentFailure: see `begin`.
        """
        with self._java.calls() as wire:
            self.begin(scenario, gold=True)
            listed = as_ref(wire.call(self._game, "getGoldActionSequence"))
            path = str(wire.static("java.lang.String", "join", "\n", listed)).split("\n")
            wire.forget(listed)
            for number, action in enumerate(path, 1):
                if self._step(action).won:
                    return path[:number]
        return []

    def replay(self, scenario: ExpressScenario, history: tuple[str, ...], digest: int) -> None:
        """Reach the end of a history; starts again unless this game is intact at a prefix of it.

        Raises:
            RestoreMismatch: if the last answer is another one.
            EnvironmentFailure: if the simulator fails.
        """
        with self._java.lock:
            intact = self._java.intact == id(self) and self._scenario == scenario
            if not intact or history[: len(self.history)] != self.history:
                self.begin(scenario)
            for action in history[len(self.history) :]:
                self._step(action)
        if self.answer.digest() != digest:
            self._scenario = None
            raise RestoreMismatch(
                "TextWorldExpress gives another answer after the same actions; use the version of "
                "textworld-express that the snapshot was made with, or call reset()",
                step=len(history) - 1,
            )


_lock = threading.Lock()
_shared: weakref.ref[SharedJava] | None = None


def _shared_java() -> SharedJava:
    """The process in use; a new one if there is none."""
    global _shared
    with _lock:
        java = _shared() if _shared is not None else None
        if java is None or not java.usable:
            java = SharedJava()
            _shared = weakref.ref(java)
        return java


def _end(wire: Py4JClient, process: JavaProcess) -> None:
    wire.close()
    process.end(immediately=True)


def _forget(java: SharedJava, game: JavaRef) -> None:
    """Free a game in Java; for finalizers, which must not wait for a lock."""
    if java.usable and java.pid == os.getpid() and java.lock.acquire(blocking=False):
        try:
            java._wire.forget(game)
        except (OSError, JavaError):
            java.usable = False
        finally:
            java.lock.release()


def _after_fork_in_child() -> None:
    global _lock, _shared
    java = _shared() if _shared is not None else None
    if java is not None and java.usable:
        java.disown()
    _lock, _shared = threading.Lock(), None


os.register_at_fork(after_in_child=_after_fork_in_child)


def _read(said: Any) -> ExpressAnswer:
    found = json.loads(str(said))
    return ExpressAnswer(
        text=str(found["observation"]).strip(),
        score=float(found["score"]),
        won=bool(found["tasksuccess"]) or float(found["score"]) >= 1,
        lost=bool(found["taskfailure"]),
        commands=tuple(sorted(found["validActions"])),
    )
