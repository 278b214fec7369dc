"""One running game of the simulator, and how it got where it is."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, NamedTuple

from leafe_gym.envs.scienceworld.catalogue import Episode
from leafe_gym.envs.scienceworld.jvm import Jvm
from leafe_gym.errors import EnvironmentFailure, RestoreMismatch, UsageError

FIRST = "look around"


class Move(NamedTuple):
    """One action and, as a hash, the answer to it."""

    action: str
    said: int


Trail = tuple[Move, ...]
"""All that was done, from the look around at the beginning."""


class Interpreter:
    """A game in a Java process; not safe to use from two threads.

    Attributes:
        jvm: the process.
        episode: what is played; None before `begin`.
        trail: what was done.
        kept: waits for one who comes to just this state.
    """

    def __init__(self, jvm: Jvm) -> None:
        self.jvm = jvm
        self.episode: Episode | None = None
        self.trail: Trail = ()
        self.kept = False
        with jvm.talk():
            self._statics = jvm.new_statics()
        with jvm.turn(self._statics):
            self._server: Any = jvm.new_server()

    def begin(self, episode: Episode) -> str:
        """Load a task and look around; gives what is seen.

        Raises:
            UsageError: if the simulator does not know it.
            EnvironmentFailure: if the simulator fails.
        """
        self.episode, self.trail = None, ()
        with self.jvm.turn(self._statics):
            wrong = self._server.load(*episode, False)
        if wrong:
            raise UsageError(f"ScienceWorld cannot load {episode}: {wrong}")
        self.episode = episode
        return self.do(FIRST)

    def do(self, action: str) -> str:
        """The answer to an action.

        Raises:
            EnvironmentFailure: if the simulator fails.
        """
        with self.jvm.turn(self._statics):
            said = str(self._server.step(action))
        self.trail = (*self.trail, Move(action, _hash(said)))
        return said

    def outcome(self) -> tuple[int, bool]:
        """Points, -100 to 100, and whether the task is over.

        Raises:
            EnvironmentFailure: if the simulator broke in the last action.
        """
        with self.jvm.turn(self._statics):
            points = round(100 * float(self._server.getScore()))
            if points < 0:
                self._check()
            return points, bool(self._server.getCompleted())

    def _check(self) -> None:
        """A failed task has a score of -1, and so has a simulator that caught an exception."""
        option = self._server.agentInterface()
        agent = option.get()
        broken = str(agent.getErrorStateMessage()) if agent.isInErrorState() else ""
        self.jvm.forget(agent, option)
        if broken:
            raise EnvironmentFailure(f"ScienceWorld broke at {self.trail[-1].action!r}: {broken}")

    def commands(self) -> list[str]:
        """Actions that are possible now, sorted; asking changes nothing.

        Things with the same name are told apart by phrases that are drawn; here always alike.
        """
        with self.jvm.turn(self._statics), self.jvm.other_luck(self._statics):
            return self.jvm.lines(self._server.getValidActionObjectCombinations)

    def about(self) -> tuple[str, list[str]]:
        """What the task is, and the forms that actions have."""
        with self.jvm.turn(self._statics):
            task = str(self._server.getTaskDescription())
            return task, self.jvm.lines(self._server.getPossibleActions)

    def gold(self, episode: Episode) -> list[str]:
        """The simulator's own way to do a task; leaves the game of no use for playing on."""
        self.episode, self.trail = None, ()
        with self.jvm.turn(self._statics):
            self._server.load(*episode, True)
            return self.jvm.lines(self._server.getGoldActionSequence)

    def ask(self, name: str, *arguments: Any) -> Any:
        """The answer of a method of the simulator that gives no list."""
        with self.jvm.turn(self._statics):
            return getattr(self._server, name)(*arguments)

    def follow(self, episode: Episode, trail: Trail) -> None:
        """Go where a trail leads, comparing each answer; begins anew if it is not on the way.

        Raises:
            RestoreMismatch: if an answer differs.
            EnvironmentFailure: if the simulator fails.
        """
        if self.episode != episode or trail[: len(self.trail)] != self.trail:
            self.begin(episode)
            self._compare(trail, 0)
        for number in range(len(self.trail), len(trail)):
            self.do(trail[number].action)
            self._compare(trail, number)

    def _compare(self, trail: Trail, number: int) -> None:
        if self.trail[number] == trail[number]:
            return
        self.episode = None
        where = f"at step {number - 1}, action {trail[number].action!r}" if number else "at once"
        raise RestoreMismatch(
            f"ScienceWorld came out otherwise {where}; use the versions of scienceworld and Java "
            "that the snapshot was made with, or reset()",
            step=number - 1 if number else None,
        )

    def discard(self) -> None:
        """Give the game up."""
        with self.jvm.talk():
            self.jvm.forget(self._server, self._statics.random, self._statics.rules)


def _hash(said: str) -> int:
    return int.from_bytes(blake2b(said.encode("utf-8", "replace"), digest_size=8).digest(), "big")
