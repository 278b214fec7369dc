"""One running game of the simulator, and how it got where it is."""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

from leafe_gym.envs.scienceworld.catalogue import Episode
from leafe_gym.envs.scienceworld.jvm import Jvm, lines
from leafe_gym.envs.scienceworld.wire import Ref, Value, Wire, a_ref
from leafe_gym.errors import EnvironmentFailure, RestoreMismatch, UsageError

FIRST = "look around"
_FOR_THE_INTERFACE = frozenset(["help", "objects", "task"])
"""Words that it answers itself, without a turn of the game."""

_NO_ANSWER = "Unknown action."


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
        points: -100 to 100.
        over: whether the task is done.
        kept: waits for one who comes to just this state.
    """

    def __init__(self, jvm: Jvm) -> None:
        self.jvm = jvm
        self.episode: Episode | None = None
        self.trail: Trail = ()
        self.points = 0
        self.over = False
        self.kept = False
        self._agent: Ref | None = None
        self._server, self._statics = jvm.new_game()

    def begin(self, episode: Episode) -> str:
        """Load a task and look around; gives what is seen.

        Raises:
            UsageError: if the simulator does not know it.
            EnvironmentFailure: if the simulator fails.
        """
        self.episode, self.trail = None, ()
        with self.jvm.turn(self._statics) as wire:
            wrong = wire.call(self._server, "load", *episode, False)
            if wrong:
                raise UsageError(f"ScienceWorld cannot load {episode}: {wrong}")
            if self._agent is not None:
                wire.forget(self._agent)
            option = a_ref(wire.call(self._server, "agentInterface"))
            self._agent = a_ref(wire.call(option, "get"))
            wire.forget(option)
            # All tasks' things, half of what a game takes; needed again by the next load, which
            # makes its own.
            wire.call(self._server, "taskMaker_$eq", None)
        self.episode, self.points, self.over = episode, 0, False
        return self.do(FIRST)

    def do(self, action: str) -> str:
        """The answer to an action.

        The simulator's outer layer would look around and take stock before each action, for a
        history that nobody reads; the agent beneath it is asked, which takes half the time.

        Raises:
            EnvironmentFailure: if the simulator fails.
        """
        assert self._agent is not None
        with self.jvm.turn(self._statics) as wire:
            if action.lower() in _FOR_THE_INTERFACE:
                said = str(wire.call(self._server, "step", action))
            else:
                result = a_ref(wire.call(self._agent, "step", action))
                told = str(wire.call(result, "toString"))  # (answer,score,over)
                wire.forget(result)
                said, score, over = told[1:-1].rsplit(",", 2)
                self.points, self.over = round(100 * float(score)), over == "true"
                if self.points < 0:
                    self._check(wire, action)
        self.trail = (*self.trail, Move(action, _hash(said)))
        return said or _NO_ANSWER

    def _check(self, wire: Wire, action: str) -> None:
        """A failed task has a score of -1, and so has a simulator that caught an exception."""
        assert self._agent is not None
        if wire.call(self._agent, "isInErrorState"):
            broken = wire.call(self._agent, "getErrorStateMessage")
            raise EnvironmentFailure(
                f"ScienceWorld broke at {action!r}: {broken}; reset(), or restore() an earlier step"
            )

    def commands(self) -> list[str]:
        """Actions that are possible now, sorted; asking changes nothing.

        Things with the same name are told apart by phrases that are drawn; here always alike.
        """
        with self.jvm.turn(self._statics) as wire, self.jvm.other_luck(wire, self._statics):
            return lines(wire, wire.call(self._server, "getValidActionObjectCombinations"))

    def about(self) -> tuple[str, list[str]]:
        """What the task is, and the forms that actions have."""
        with self.jvm.turn(self._statics) as wire:
            task = str(wire.call(self._server, "getTaskDescription"))
            return task, lines(wire, wire.call(self._server, "getPossibleActions"))

    def gold(self, episode: Episode) -> list[str]:
        """The simulator's own way to do a task, up to where it is done; empty if there is none."""
        self.episode, self.trail = None, ()
        with self.jvm.turn(self._statics) as wire:
            wire.call(self._server, "load", *episode, True)
            way = lines(wire, wire.call(self._server, "getGoldActionSequence"))
        self.begin(episode)
        for number, action in enumerate(way, 1):
            self.do(action)
            if self.over:
                return way[:number] if self.points >= 100 else []
        return []

    def ask(self, name: str, *arguments: Value) -> Value:
        """The answer of a method of the simulator; an object as Java shows it."""
        with self.jvm.turn(self._statics) as wire:
            answer = wire.call(self._server, name, *arguments)
            return str(wire.call(answer, "toString")) if isinstance(answer, Ref) else answer

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
        self.trail = trail  # equal, and shared with the states that hold it

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
        with self.jvm.talk() as wire:
            if self._agent is not None:
                wire.forget(self._agent)
            wire.forget(self._server, self._statics.random, self._statics.rules)


def _hash(said: str) -> int:
    return int.from_bytes(blake2b(said.encode("utf-8", "replace"), digest_size=8).digest(), "big")
