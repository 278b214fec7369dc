"""One running game of the simulator, with the history that led to its state."""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

from leafe_gym.envs.java.py4j_client import JavaRef, JavaValue, Py4JClient, as_ref
from leafe_gym.envs.scienceworld.jvm import Simulator, lines
from leafe_gym.envs.scienceworld.task_catalogue import Scenario
from leafe_gym.errors import EnvironmentFailure, RestoreMismatch, UsageError

FIRST = "look around"
_INTERFACE_WORDS = frozenset(["help", "objects", "task"])
"""Words that the outer layer answers without advancing the game."""

_NO_ANSWER = "Unknown action."


class RecordedAction(NamedTuple):
    """An action and the hash of its answer."""

    action: str
    answer: int


History = tuple[RecordedAction, ...]
"""All actions of an episode, from the initial "look around" on."""


class Interpreter:
    """A game in a Java process; not thread-safe.

    Attributes:
        jvm: the process.
        scenario: what is played; None before `begin`.
        history: the actions taken.
        points: -100 to 100.
        over: whether the task has ended.
        held: whether the game is reserved for restores of exactly its state.
    """

    def __init__(self, jvm: Simulator) -> None:
        self.jvm = jvm
        self.scenario: Scenario | None = None
        self.history: History = ()
        self.points = 0
        self.over = False
        self.held = False
        self._agent: JavaRef | None = None
        self._server, self._statics = jvm.new_game()

    def begin(self, scenario: Scenario) -> str:
        """Load a task and look around; returns the observation.

        Raises:
            UsageError: if the simulator does not know the scenario.
            EnvironmentFailure: if the simulator fails.
        """
        self.scenario, self.history = None, ()
        with self.jvm.active(self._statics) as wire:
            wrong = wire.call(self._server, "load", *scenario, False)
            if wrong:
                raise UsageError(f"ScienceWorld cannot load {scenario}: {wrong}")
            if self._agent is not None:
                wire.forget(self._agent)
            option = as_ref(wire.call(self._server, "agentInterface"))
            self._agent = as_ref(wire.call(option, "get"))
            wire.forget(option)
            # Half of a game's memory: the objects of all tasks. Loading creates them again.
            wire.call(self._server, "taskMaker_$eq", None)
        self.scenario, self.points, self.over = scenario, 0, False
        return self.step(FIRST)

    def step(self, action: str) -> str:
        """Take an action; returns the answer.

        The call goes to the agent below the simulator's outer layer. The outer layer lists the
        surroundings and the inventory before each action, which doubles the time.

        Raises:
            EnvironmentFailure: if the simulator fails.
        """
        assert self._agent is not None
        with self.jvm.active(self._statics) as wire:
            if action.lower() in _INTERFACE_WORDS:
                answer = str(wire.call(self._server, "step", action))
            else:
                result = as_ref(wire.call(self._agent, "step", action))
                told = str(wire.call(result, "toString"))  # (answer,score,over)
                wire.forget(result)
                answer, score, over = told[1:-1].rsplit(",", 2)
                self.points, self.over = round(100 * float(score)), over == "true"
                if self.points < 0:
                    self._check(wire, action)
        self.history = (*self.history, RecordedAction(action, _hash(answer)))
        return answer or _NO_ANSWER

    def _check(self, wire: Py4JClient, action: str) -> None:
        """Tell a failed task from an exception in the simulator; both have the score -1."""
        assert self._agent is not None
        if wire.call(self._agent, "isInErrorState"):
            broken = wire.call(self._agent, "getErrorStateMessage")
            raise EnvironmentFailure(
                f"ScienceWorld failed at {action!r}: {broken}; call reset(), or "
                "restore() an earlier state"
            )

    def commands(self) -> list[str]:
        """The actions that are possible now, sorted; does not change the game.

        The simulator draws phrases that distinguish objects of the same name; a fixed generator
        is used for that, so that the phrases are always the same.
        """
        with (
            self.jvm.active(self._statics) as wire,
            self.jvm.fixed_listing_random(wire, self._statics),
        ):
            return lines(wire, wire.call(self._server, "getValidActionObjectCombinations"))

    def about(self) -> tuple[str, list[str]]:
        """The task description, and the forms of actions."""
        with self.jvm.active(self._statics) as wire:
            task = str(wire.call(self._server, "getTaskDescription"))
            return task, lines(wire, wire.call(self._server, "getPossibleActions"))

    def gold(self, scenario: Scenario) -> list[str]:
        """The simulator's own solution of a task, up to its completion; empty if there is none."""
        self.scenario, self.history = None, ()
        with self.jvm.active(self._statics) as wire:
            wire.call(self._server, "load", *scenario, True)
            path = lines(wire, wire.call(self._server, "getGoldActionSequence"))
        self.begin(scenario)
        for number, action in enumerate(path, 1):
            self.step(action)
            if self.over:
                return path[:number] if self.points >= 100 else []
        return []

    def ask(self, name: str, *arguments: JavaValue) -> JavaValue:
        """The result of a method of the simulator; objects as their `toString`."""
        with self.jvm.active(self._statics) as wire:
            answer = wire.call(self._server, name, *arguments)
            return str(wire.call(answer, "toString")) if isinstance(answer, JavaRef) else answer

    def replay(self, scenario: Scenario, history: History) -> None:
        """Reach the end of a history and compare each answer.

        Restarts the scenario unless this game's own history is a prefix.

        Raises:
            RestoreMismatch: if an answer differs.
            EnvironmentFailure: if the simulator fails.
        """
        if self.scenario != scenario or history[: len(self.history)] != self.history:
            self.begin(scenario)
            self._compare(history, 0)
        for number in range(len(self.history), len(history)):
            self.step(history[number].action)
            self._compare(history, number)
        self.history = history  # equal; sharing the object saves memory

    def _compare(self, history: History, number: int) -> None:
        if self.history[number] == history[number]:
            return
        self.scenario = None
        where = f"at action {number - 1} ({history[number].action!r})" if number else "at the start"
        raise RestoreMismatch(
            f"ScienceWorld gives another answer {where}; use the versions of scienceworld and Java "
            "that the snapshot was made with, or call reset()",
            step=number - 1 if number else None,
        )

    def discard(self) -> None:
        """Free the game's objects in Java."""
        with self.jvm.connection() as wire:
            if self._agent is not None:
                wire.forget(self._agent)
            wire.forget(self._server, self._statics.random, self._statics.rules)


def _hash(answer: str) -> int:
    return int.from_bytes(blake2b(answer.encode("utf-8", "replace"), digest_size=8).digest(), "big")
