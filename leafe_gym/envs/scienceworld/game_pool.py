"""Running games that no environment uses at the moment, and which environment gets which.

A restore takes a game that is already at the requested state, or at an earlier state of the same
history, and replays only the missing actions. A held game is reserved for its exact state.
"""

from __future__ import annotations

import os
import threading
from collections import deque

from leafe_gym.envs.scienceworld.interpreter import History, Interpreter
from leafe_gym.envs.scienceworld.jvm import Simulator
from leafe_gym.envs.scienceworld.task_catalogue import Scenario
from leafe_gym.errors import EnvironmentFailure

MAX_IDLE = 4
"""Most idle games that are not held."""

MAX_HELD = 64
"""Most held games, 0.3 MB each; beyond this limit the oldest one becomes an ordinary idle game."""


class GamePool:
    """The idle and held games of one Java process; thread-safe.

    Attributes:
        jvm: the process.
        users: number of environments that use it.
    """

    def __init__(self, jvm: Simulator) -> None:
        self.jvm = jvm
        self.users = 0
        self._idle: list[Interpreter] = []  # oldest first

    def acquire(self, scenario: Scenario, history: History) -> Interpreter:
        """A game at the end of a history.

        Args:
            scenario: what is played.
            history: the actions taken, with hashes of the answers.

        Raises:
            RestoreMismatch: if the same actions now give other answers.
            EnvironmentFailure: if the simulator fails.
        """
        return self._moved_to(self._nearest(scenario, history), scenario, history)

    def begin(self, scenario: Scenario) -> tuple[Interpreter, str]:
        """A game at the beginning of a scenario, and its first observation."""
        game = self._reusable()
        return game, game.begin(scenario)

    def new(self) -> Interpreter:
        """A game with nothing loaded."""
        return Interpreter(self.jvm)

    def put_back(self, game: Interpreter) -> None:
        """Return a game to the pool."""
        with self.jvm.lock:
            self._idle.append(game)
            self._trim()

    def hold(self, scenario: Scenario, history: History) -> None:
        """Pre-position one more game at the end of a history and reserve it for that state."""
        nearest = self._nearest(scenario, history, with_held=False)
        game = self._moved_to(nearest, scenario, history)
        game.held = True
        self.put_back(game)

    def release(self, scenario: Scenario, history: History) -> None:
        """Make the games that are held at the end of a history ordinary idle games."""
        with self.jvm.lock:
            for game in self._idle:
                if game.scenario == scenario and game.history == history:
                    game.held = False
            self._trim()

    def held(self) -> int:
        """Number of held games."""
        with self.jvm.lock:
            return sum(game.held for game in self._idle)

    def _moved_to(
        self, game: Interpreter | None, scenario: Scenario, history: History
    ) -> Interpreter:
        game = game or self._reusable()
        game.replay(scenario, history)
        return game

    def _nearest(
        self, scenario: Scenario, history: History, *, with_held: bool = True
    ) -> Interpreter | None:
        """The game with the longest common prefix that needs no restart; None if there is none."""
        with self.jvm.lock:
            found: Interpreter | None = None
            for game in self._idle:
                length = len(game.history)
                is_prefix = game.scenario == scenario and history[:length] == game.history
                free = not game.held or (with_held and length == len(history))
                if not is_prefix or not free:
                    continue
                if found is None or length >= len(found.history):
                    found = game
            return self._remove(found)

    def _reusable(self) -> Interpreter:
        """A game that may be restarted; a new one while fewer than `MAX_IDLE` are idle."""
        with self.jvm.lock:
            idle = [game for game in self._idle if not game.held]
            found = self._remove(idle[0]) if len(idle) >= MAX_IDLE else None
        return found or self.new()

    def _remove(self, game: Interpreter | None) -> Interpreter | None:
        if game is not None:
            self._idle.remove(game)
            game.held = False
        return game

    def _trim(self) -> None:
        held = [game for game in self._idle if game.held]
        for game in held[: max(0, len(held) - MAX_HELD)]:
            game.held = False
        idle = [game for game in self._idle if not game.held]
        for game in idle[: max(0, len(idle) - MAX_IDLE)]:
            self._idle.remove(game)
            if self.jvm.alive:
                game.discard()


class GameHandle:
    """One environment's access to the pool and to the game that it plays.

    Attributes:
        game: None before `begin` or `restore`, and after the Java process was lost.
    """

    def __init__(self) -> None:
        self.game: Interpreter | None = None
        self._pool: GamePool | None = None

    def begin(self, scenario: Scenario) -> str:
        """Start a scenario; returns the first observation.

        Raises:
            EnvironmentFailure: if the simulator fails.
        """
        self.return_game()
        self.game, observation = self.pool().begin(scenario)
        return observation

    def restore(self, scenario: Scenario, history: History) -> None:
        """Switch to a game at the end of a history; replayed actions are compared.

        Raises:
            RestoreMismatch: if the same actions now give other answers.
            EnvironmentFailure: if the simulator fails.
        """
        self.return_game()
        pool = self.pool()
        try:
            self.game = pool.acquire(scenario, history)
        except EnvironmentFailure:
            if pool.jvm.alive:
                raise
            self.game = self.pool().acquire(scenario, history)

    def return_game(self) -> None:
        """Return the game to the pool."""
        game, self.game = self.game, None
        if game is not None and self._pool is not None and self._pool.jvm.alive:
            self._pool.put_back(game)

    def invalidate(self) -> None:
        """Discard the game, because its state is unknown."""
        game, self.game = self.game, None
        if game is not None and game.jvm.alive:
            game.discard()

    def pool(self) -> GamePool:
        """The shared pool; a new one if its Java process is gone.

        Raises:
            MissingExtra: if a package is not installed.
            UsageError: if Java or the simulator cannot be started.
        """
        if self._pool is None or not self._pool.jvm.alive:
            self.close()
            self._pool = _join()
        return self._pool

    def close(self) -> None:
        """Leave the pool; the Java process ends with its last user. Safe to call twice."""
        self.return_game()
        pool, self._pool = self._pool, None
        if pool is not None:
            _leave(pool)

    def close_later(self) -> None:
        """For finalizers, which must not take locks: `close` when the next handle joins."""
        if self._pool is not None:
            _to_close.append(self)


_pool_lock = threading.RLock()
_shared: GamePool | None = None
_to_close: deque[GameHandle] = deque()


def release_held(scenario: Scenario, history: History) -> None:
    """`GamePool.release` on the shared pool, if there is one."""
    pool = _shared
    if pool is not None:
        pool.release(scenario, history)


def _join() -> GamePool:
    """The shared pool; starts a Java process if none is running."""
    global _shared
    with _pool_lock:
        if _shared is None or not _shared.jvm.alive:
            _shared = GamePool(Simulator())
        pool = _shared
        pool.users += 1
    while _to_close:
        _to_close.popleft().close()
    return pool


def _leave(pool: GamePool) -> None:
    global _shared
    with _pool_lock:
        pool.users -= 1
        if pool.users <= 0:
            pool.jvm.stop()
            _shared = None if _shared is pool else _shared


def _after_fork_in_child() -> None:
    global _pool_lock, _shared
    _pool_lock, _shared = threading.RLock(), None
    _to_close.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
