"""Running games that wait, and who gets which.

A game that is left where it is can be taken over by one who wants to go to the same place, or on
from there: no work at all, or only the actions in between. A kept one waits for its very place.
"""

from __future__ import annotations

import os
import threading
from collections import deque

from leafe_gym.envs.scienceworld.catalogue import Episode
from leafe_gym.envs.scienceworld.interpreter import Interpreter, Trail
from leafe_gym.envs.scienceworld.jvm import Jvm
from leafe_gym.errors import EnvironmentFailure

IDLE = 4
"""Most games that wait for nobody in particular."""

KEPT = 64
"""Most games that wait for their very place, 0.3 MB each; beyond it the oldest becomes idle."""


class Pool:
    """The waiting games of a Java process; safe to use from several threads.

    Attributes:
        jvm: the process.
        users: environments that need it.
    """

    def __init__(self, jvm: Jvm) -> None:
        self.jvm = jvm
        self.users = 0
        self._waiting: list[Interpreter] = []  # the longest waiting first

    def take(self, episode: Episode, trail: Trail) -> Interpreter:
        """A game at the end of a trail.

        Args:
            episode: what is played.
            trail: what is to have been done.

        Raises:
            RestoreMismatch: if the same actions lead elsewhere now.
            EnvironmentFailure: if the simulator fails.
        """
        return self._brought(self._nearest(episode, trail), episode, trail)

    def begin(self, episode: Episode) -> tuple[Interpreter, str]:
        """A game at its beginning, and what is seen there."""
        game = self._any()
        return game, game.begin(episode)

    def new(self) -> Interpreter:
        """A game with nothing loaded."""
        return Interpreter(self.jvm)

    def give(self, game: Interpreter) -> None:
        """Take back a game."""
        with self.jvm.lock:
            self._waiting.append(game)
            self._trim()

    def keep(self, episode: Episode, trail: Trail) -> None:
        """Have a game wait at the end of a trail, besides those that do already."""
        nearest = self._nearest(episode, trail, with_kept=False)
        game = self._brought(nearest, episode, trail)
        game.kept = True
        self.give(game)

    def unkeep(self, episode: Episode, trail: Trail) -> None:
        """The games kept at the end of a trail wait for nobody in particular from now on."""
        with self.jvm.lock:
            for game in self._waiting:
                if game.episode == episode and game.trail == trail:
                    game.kept = False
            self._trim()

    def kept(self) -> int:
        """How many wait for their very place."""
        with self.jvm.lock:
            return sum(game.kept for game in self._waiting)

    def _brought(self, game: Interpreter | None, episode: Episode, trail: Trail) -> Interpreter:
        game = game or self._any()
        game.follow(episode, trail)
        return game

    def _nearest(
        self, episode: Episode, trail: Trail, *, with_kept: bool = True
    ) -> Interpreter | None:
        with self.jvm.lock:
            found: Interpreter | None = None
            for game in self._waiting:
                here = len(game.trail)
                on_the_way = game.episode == episode and trail[:here] == game.trail
                free = not game.kept or (with_kept and here == len(trail))
                if not on_the_way or not free:
                    continue
                if found is None or here >= len(found.trail):
                    found = game
            return self._out(found)

    def _any(self) -> Interpreter:
        """One that may be begun anew: a new one, unless enough wait for nobody in particular."""
        with self.jvm.lock:
            idle = [game for game in self._waiting if not game.kept]
            found = self._out(idle[0]) if len(idle) >= IDLE else None
        return found or self.new()

    def _out(self, game: Interpreter | None) -> Interpreter | None:
        if game is not None:
            self._waiting.remove(game)
            game.kept = False
        return game

    def _trim(self) -> None:
        kept = [game for game in self._waiting if game.kept]
        for game in kept[: max(0, len(kept) - KEPT)]:
            game.kept = False
        idle = [game for game in self._waiting if not game.kept]
        for game in idle[: max(0, len(idle) - IDLE)]:
            self._waiting.remove(game)
            if self.jvm.alive:
                game.discard()


class Seat:
    """What one environment has of all this: a pool, and the game that it plays.

    Attributes:
        game: None before `begin` and `go`, and after the process was lost.
    """

    def __init__(self) -> None:
        self.game: Interpreter | None = None
        self._pool: Pool | None = None

    def begin(self, episode: Episode) -> str:
        """Have a game at its beginning; gives what is seen there.

        Raises:
            EnvironmentFailure: if the simulator fails.
        """
        self.leave_game()
        self.game, said = self.pool().begin(episode)
        return said

    def go(self, episode: Episode, trail: Trail) -> None:
        """Have a game at the end of a trail; one that is not there yet is brought there, compared.

        Raises:
            RestoreMismatch: if the same actions lead elsewhere now.
            EnvironmentFailure: if the simulator fails.
        """
        self.leave_game()
        pool = self.pool()
        try:
            self.game = pool.take(episode, trail)
        except EnvironmentFailure:
            if pool.jvm.alive:
                raise
            self.game = self.pool().take(episode, trail)

    def leave_game(self) -> None:
        """Let others have the game."""
        game, self.game = self.game, None
        if game is not None and self._pool is not None and self._pool.jvm.alive:
            self._pool.give(game)

    def spoil(self) -> None:
        """Give up the game, whose state is not known any more."""
        game, self.game = self.game, None
        if game is not None and game.jvm.alive:
            game.discard()

    def pool(self) -> Pool:
        """The pool; a new one where the process is gone.

        Raises:
            MissingExtra: if a package is not installed.
            UsageError: if Java or the simulator cannot be started.
        """
        if self._pool is None or not self._pool.jvm.alive:
            self.close()
            self._pool = _join()
        return self._pool

    def close(self) -> None:
        """Leave; the Java process ends with the last one. Safe to call twice."""
        self.leave_game()
        pool, self._pool = self._pool, None
        if pool is not None:
            _leave(pool)

    def abandon(self) -> None:
        """What a finaliser calls, which may take no lock: `close`, when next somebody comes."""
        if self._pool is not None:
            _abandoned.append(self)


_all = threading.RLock()
_shared: Pool | None = None
_abandoned: deque[Seat] = deque()


def unkeep(episode: Episode, trail: Trail) -> None:
    """See `Pool.unkeep`; of the pool that all share."""
    pool = _shared
    if pool is not None:
        pool.unkeep(episode, trail)


def _join() -> Pool:
    """The pool that all share; with a new process if none is running."""
    global _shared
    with _all:
        if _shared is None or not _shared.jvm.alive:
            _shared = Pool(Jvm())
        pool = _shared
        pool.users += 1
    while _abandoned:
        _abandoned.popleft().close()
    return pool


def _leave(pool: Pool) -> None:
    global _shared
    with _all:
        pool.users -= 1
        if pool.users <= 0:
            pool.jvm.stop()
            _shared = None if _shared is pool else _shared


def _in_child() -> None:
    global _all, _shared
    _all, _shared = threading.RLock(), None
    _abandoned.clear()


os.register_at_fork(after_in_child=_in_child)
