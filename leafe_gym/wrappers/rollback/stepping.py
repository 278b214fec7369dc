"""One chain of wrappers and the log of its episode: resetting and stepping."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import gymnasium as gym

from leafe_gym.errors import ResetNeeded
from leafe_gym.types import Info
from leafe_gym.wrappers.backends.replay import ReplayBackend
from leafe_gym.wrappers.rollback.episode_log import (
    EpisodeLog,
    EpisodeView,
    SnapshotRecord,
    Transition,
)
from leafe_gym.wrappers.rollback.episode_seeds import EpisodeSeeds
from leafe_gym.wrappers.rollback.outcomes import (
    StepOutcome,
    judged_success,
    reported_success,
    reset_outcome,
    step_outcome,
)
from leafe_gym.wrappers.rollback.random_state import EnvGlobalRandom, Watch
from leafe_gym.wrappers.rollback.restarts import (
    generator_of,
)
from leafe_gym.wrappers.rollback.snapshot_index import SnapshotIndex
from leafe_gym.wrappers.rollback.values import ATOMS, private_copy, separate

AnyEnv = gym.Env[Any, Any]
Won = Callable[[float, bool, Info], bool]

FAILED = "{} failed, so the state is unknown: call reset() or restore()"
_NOTHING = nullcontext()
_NEVER = "no episode is running: call reset() first"


class EpisodeController:
    """Steps one chain and keeps the log of its episode.

    Attributes:
        env: the chain now in use; some backends replace it when they load.
        log: the current path, or None where a reset (or restore) is needed.
        taken: actions taken so far, 0 to t.
        fresh: whether `env` has never been reset.
        won_in_info: whether the environment's own info ever had `won`.
        replay_proved: whether a verification has found that they do.
        replay_problem: why a reset and a replay do not lead to the same state; "" if they do.

    Args:
        env: the chain.
        won: rule for environments whose info has no `won`.
        watch: how closely to look for undeclared use of the global generators.
        remake: makes another instance, for a restore after a call into this one raised; None, or
            a result of None, where there is none. This one is then reset and the episode replayed.
    """

    def __init__(
        self,
        env: AnyEnv,
        won: Won | None = None,
        *,
        watch: Watch = "first",
        remake: Callable[[], AnyEnv | None] | None = None,
    ) -> None:
        self.env = env
        self.log: EpisodeLog | None = None
        self.taken = 0
        self.fresh = True
        self.won_in_info = False
        self._broken = False
        self._begun: EpisodeLog | None = None  # what `env` was last reset for
        self._remake = remake
        self.replay_problem = ""
        self.replay_proved = False
        self._globals = EnvGlobalRandom(env, watch=watch)
        self._won = won
        self._writer = object()
        self._why = _NEVER
        self._pending: int | None = None
        self._replay = ReplayBackend()
        self._snapshots: list[tuple[int, weakref.ref[SnapshotRecord]]] = []
        self._anchors = SnapshotIndex()
        self._seeds = EpisodeSeeds()

    @property
    def replayed(self) -> int:
        """Steps replayed so far, outside the chosen backend."""
        return self._replay.replayed

    def reset(
        self,
        seed: int | None,
        options: dict[str, Any] | None,
        before: Callable[[int, dict[str, Any] | None], None] | None = None,
    ) -> tuple[Any, Info]:
        """Begin an episode and its log; `before` gets the seed and options first."""
        seed = self._seeds.next(seed)
        if before is not None:
            before(seed, private_copy(options))
        self.abandon("the last reset failed: call reset() again")
        log = EpisodeLog(seed, private_copy(options), None, {}, writer=self._writer)
        self._globals.begin(self.env, log.random_start())
        self._begun = log
        try:
            outcome = self._watched(self.env.reset, seed=seed, options=separate(options))
        except BaseException:
            self._broken = True
            raise
        observation, info = reset_outcome(outcome, seed)
        self.fresh = False
        log.observation, log.info = private_copy(observation), private_copy(info)
        log.generator = generator_of(self.env)
        self.log = log
        return observation, info

    def step(self, action: Any) -> StepOutcome:
        """Do one action and log it."""
        log = self.log
        if log is None:
            raise ResetNeeded(self._why)
        taken = self.taken
        moves = log.transitions
        if taken != len(moves) or log.writer is not self._writer:
            # Another path continues from here: the log of the old one belongs to its snapshots.
            log = self.log = log.prefix(taken, self._writer)
            moves = log.transitions
        kept = given = action
        if type(action) not in ATOMS:
            kept, given = private_copy(action), separate(action)
        random = self._globals.probe
        try:
            if random is None:
                outcome = self._watched(self.env.step, given)
            else:
                if (
                    random.random_word.value != random.random_seen
                    or random.numpy_word.value != random.numpy_seen
                    or random.cached
                ):
                    random.refresh()
                outcome = self.env.step(given)
                if (
                    random.random_word.value != random.random_seen
                    or random.numpy_word.value != random.numpy_seen
                    or random.cached
                ) and random.moved():
                    outcome = self._drew(outcome, kept)
            outcome = step_outcome(outcome, taken, kept)
            observation, reward, terminated, truncated, info = outcome
            record = private_copy(info)
            won = record.get("won")
            if won is not True and won is not False:
                won = reported_success(record, taken, kept)
        except BaseException:
            self._broken = True
            if random is not None:
                self._globals.found(self.env)
            self.abandon(FAILED.format(f"step {taken}"))
            raise
        if won is not None:
            self.won_in_info = True
        else:
            won = self._judge(reward, terminated, info)
        if info.get("won") is not won:
            record["won"] = won
            # A new dict: an environment that hands out one dict again and again would later
            # find our `won` in it and seem to report its own.
            info = {**info, "won": won}
        seen = observation if type(observation) in ATOMS else private_copy(observation)
        # Twice as fast as Transition(...), which calls a generated function first.
        parts = (kept, seen, reward, terminated, truncated, record, self._pending)
        moves.append(tuple.__new__(Transition, parts))
        self._pending = None
        self.taken = taken + 1
        return observation, reward, terminated, truncated, info

    def _watched(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """A call into the environment, which may draw from the global generators."""
        random = self._globals
        if random.probe is None:
            if not random.applies():
                return function(*args, **kwargs)
            with random.around(self.env, watch=True):
                return function(*args, **kwargs)
        if random.probe.moved():
            random.probe.refresh()
        try:
            outcome = function(*args, **kwargs)
        except BaseException:
            random.found(self.env)
            raise
        if not random.probe.moved():
            return outcome
        return self._drew_first(outcome, function, args, kwargs)

    def _drew_first(
        self, outcome: Any, function: Callable[..., Any], args: Any, kwargs: dict[str, Any]
    ) -> Any:
        """A reset drew from the program's generators: it is done again with seeded ones."""
        random = self._globals
        if not self.replay_proved:
            random.caught(self.env)
            return outcome
        if not random.found(self.env):
            return outcome
        with random.around(self.env):
            return function(*args, **kwargs)

    def _drew(self, outcome: Any, action: Any) -> Any:
        """A step drew from the program's generators: it is done again with seeded ones.

        Nothing was drawn before it, so a replay from the reset leads to the state before the step.
        The outcome is then a function of the seed, as it is in every later episode.
        """
        random, log = self._globals, self.log
        if not self.replay_proved or log is None:
            random.caught(self.env)
            return outcome
        if not random.found(self.env):
            return outcome
        view = EpisodeView(log, self.taken, self._pending)
        random.resume(self.env, log.random_start(), None)
        with random.around(self.env):
            self._replay.load(self.env, view)
        random.start = view.random_start
        with random.around(self.env):
            return self.env.step(private_copy(action))

    def _judge(self, reward: float, terminated: bool, info: Info) -> bool:
        """Whether the episode is won, where the environment does not say."""
        if self._won is None:
            return terminated and reward > 0
        try:
            return judged_success(self._won(reward, terminated, private_copy(info)))
        except BaseException:
            # The environment has done a step that is not in the log.
            self.abandon(
                f"the function won= failed at step {self.taken}: call reset() or restore()"
            )
            raise

    def abandon(self, why: str) -> None:
        """Drop the episode; only a reset or a restore is possible from here on."""
        self.log = None
        self.taken = 0
        self._pending = None
        self._snapshots.clear()
        self._why = why

    def view(self) -> EpisodeView:
        """The episode so far.

        Raises:
            ResetNeeded: if none is running.
        """
        if self.log is None:
            raise ResetNeeded(self._why)
        return EpisodeView(self.log, self.taken, self._pending)

    def now(self) -> tuple[Any, Info]:
        """The current observation and info, copied from the log."""
        log, taken = self.log, self.taken
        if log is None:
            raise ResetNeeded(self._why)
        last = log.transitions[taken - 1] if taken else log
        return private_copy(last.observation), private_copy(last.info)
