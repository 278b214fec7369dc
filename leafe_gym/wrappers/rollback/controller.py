"""One chain of wrappers, the log of its episode, and the way back: what RollbackWrapper steers.

The controller assumes a correct backend; `verify` checks that assumption on separate instances.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from math import isfinite
from typing import Any

import gymnasium as gym
import numpy as np

from leafe_gym.errors import (
    BackendError,
    EnvironmentFailure,
    LeafeError,
    ResetNeeded,
    SnapshotUnsupported,
)
from leafe_gym.types import Info
from leafe_gym.wrappers.backends.base import Backend, SavedState
from leafe_gym.wrappers.backends.fork import ForkBackend
from leafe_gym.wrappers.backends.replay import ReplayBackend, compare, other_start
from leafe_gym.wrappers.rollback.episode_log import (
    EpisodeLog,
    EpisodeStart,
    EpisodeView,
    SnapshotRecord,
    Transition,
)
from leafe_gym.wrappers.rollback.random_state import EnvGlobalRandom, Watch
from leafe_gym.wrappers.rollback.remote import RemoteEnv
from leafe_gym.wrappers.rollback.values import ATOMS, private_copy, same, show
from leafe_gym.wrappers.rollback.wrapper_state import reseed

AnyEnv = gym.Env[Any, Any]
Won = Callable[[float, bool, Info], bool]
StepOutcome = tuple[Any, float, bool, bool, Info]

_FAILED = "{} failed, so the state is unknown: call reset() or restore()"
_NOTHING = nullcontext()
_NEVER = "no episode is running: call reset() first"


class RollbackController:
    """Steps one chain, keeps the log, saves and restores.

    Attributes:
        env: the chain now in use; some backends replace it when they load.
        log: the current path, or None where a reset (or restore) is needed.
        taken: actions taken so far, 0 to t.
        fresh: whether `env` has never been reset.
        won_in_info: whether the environment's own info ever had `won`.
        replay_problem: why a reset and a replay do not lead to the same state; "" if they do.

    Args:
        env: the chain.
        won: rule for environments whose info has no `won`.
        watch: whether to look out for undeclared use of the global generators.
    """

    def __init__(self, env: AnyEnv, won: Won | None = None, *, watch: Watch = "first") -> None:
        self.env = env
        self.log: EpisodeLog | None = None
        self.taken = 0
        self.fresh = True
        self.won_in_info = False
        self.replay_problem = ""
        self._globals = EnvGlobalRandom(env, watch=watch)
        self._won = won
        self._writer = object()
        self._why = _NEVER
        self._pending: int | None = None
        self._replay = ReplayBackend()
        self._snapshots: list[tuple[int, weakref.ref[SnapshotRecord]]] = []
        self._anchors = _Anchors()
        self._seeds: np.random.SeedSequence | None = None

    @property
    def replayed(self) -> int:
        """Steps done again so far, outside the chosen backend."""
        return self._replay.replayed

    def reset(
        self,
        seed: int | None,
        options: dict[str, Any] | None,
        before: Callable[[int, dict[str, Any] | None], None] | None = None,
    ) -> tuple[Any, Info]:
        """Begin an episode and its log; `before` gets the seed and options first."""
        seed = self._seed(seed)
        if before is not None:
            before(seed, private_copy(options))
        self.abandon("the last reset failed: call reset() again")
        kept = private_copy(options)
        self._globals.refresh(self.env)
        with self._own_globals(seed, watch=True):
            observation, info = self.env.reset(seed=seed, options=options)
        self.fresh = False
        self.log = EpisodeLog(
            seed, kept, private_copy(observation), private_copy(info), writer=self._writer
        )
        return observation, info

    def step(self, action: Any) -> StepOutcome:
        """Do one action and log it."""
        log = self.log
        if log is None:
            raise ResetNeeded(self._why)
        taken = self.taken
        moves = log.transitions
        if taken != len(moves) or log.writer is not self._writer:
            # Another path goes on from here: the log of the old one belongs to its snapshots.
            log = self.log = log.prefix(taken, self._writer)
            moves = log.transitions
        kept = action if type(action) in ATOMS else private_copy(action)
        try:
            if self._globals.active:
                with self._own_globals(watch=True):
                    outcome = self.env.step(action)
            else:
                outcome = self.env.step(action)
            observation, reward, terminated, truncated, info = outcome
            number = reward if type(reward) is float else _number(reward, taken, action)
            if not isfinite(number) or not isinstance(info, dict):
                raise _bad_outcome(number, info, taken, action)
        except BaseException:
            self.abandon(_FAILED.format(f"step {taken}"))
            raise
        terminated, truncated = bool(terminated), bool(truncated)
        record = private_copy(info)
        if "won" in record:
            self.won_in_info = True
        else:
            won = self._won
            if won is None:
                record["won"] = terminated and number > 0
            else:
                record["won"] = bool(won(number, terminated, info))
            # A new dict: an environment that hands out one dict again and again would later
            # find our `won` in it and seem to report its own.
            info = {**info, "won": record["won"]}
        seen = observation if type(observation) in ATOMS else private_copy(observation)
        moves.append(Transition(kept, seen, number, terminated, truncated, record, self._pending))
        self._pending = None
        self.taken = taken + 1
        return observation, number, terminated, truncated, info

    def abandon(self, why: str) -> None:
        """Forget the episode; nothing but a reset or a restore helps from here on."""
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

    def hold(self, backend: Backend, env_key: str, owner: int) -> tuple[SnapshotRecord, SavedState]:
        """Save the current state."""
        view = self.view()
        with _Naming(backend, "save", view):
            saved = backend.save(self.env, view)
        data = (saved.data, self._globals.state if self._globals.active else None)
        if saved.env is not None:
            self._move_to(saved.env)
        held = SnapshotRecord(backend.name, data, view, env_key, owner)
        if self._snapshots and self._snapshots[-1][0] == self.taken:
            self._snapshots.pop()
        self._snapshots.append((self.taken, weakref.ref(held)))
        self._anchors.offer(view.log.digest(view.length), held)
        return held, saved

    def put_back(self, backend: Backend, held: SnapshotRecord) -> None:
        """Load a state that was held; on failure the episode is abandoned."""
        log = held.view.log
        try:
            if self.fresh and not backend.rebuilds and not isinstance(backend, ReplayBackend):
                # Some environments make attributes in `reset` that `set_state` counts on.
                with self._own_globals(log.seed):
                    self.env.reset(seed=log.seed, options=log.options)
            with _Naming(backend, "restore", held.view), self._own_globals(log.seed):
                self._move_to(backend.load(self.env, held.data[0]))
            if held.data[1] is not None:
                self._globals.state = held.data[1]
        except BaseException:
            self.abandon(_FAILED.format("a restore"))
            raise
        self._follow(held.view)
        self._snapshots.append((held.view.length, weakref.ref(held)))

    def replay_seconds(self) -> tuple[float, float]:
        """(seconds for a reset, seconds per step) of doing the episode so far again."""
        view = self.view()
        begin = time.perf_counter()
        with self._own_globals(view.log.seed):
            self._replay.restart(self.env, view)
            middle = time.perf_counter()
            self._replay.redo(self.env, view)
            end = time.perf_counter()
        return middle - begin, (end - middle) / max(1, view.length)

    def actions(self) -> tuple[Any, ...]:
        """Actions taken so far."""
        if self.log is None:
            return ()
        return tuple(move.action for move in self.view().moves())

    def relocate(self, backend: ForkBackend) -> None:
        """Use an instance in a process of its own from the next reset on."""
        self._move_to(backend.relocate(self.env))
        self.fresh = True

    def hold_start(self, backend: Backend, env_key: str, owner: int) -> None:
        """Save the state after a reset, where an episode cannot be replayed from its seed."""
        held, _ = self.hold(backend, env_key, owner)
        held.view.log.start = held
        weakref.finalize(held, backend.release, held.data[0]).atexit = False

    def replay(self, view: EpisodeView, backend: Backend | None = None) -> None:
        """Repeat the actions of `view` from its start, verified.

        Raises:
            SnapshotUnsupported: if the environment cannot be replayed and nothing else is saved.
        """
        if self.replay_problem:
            start = view.log.start
            if start is None or backend is None or start.backend != backend.name:
                raise SnapshotUnsupported(
                    "a reset and a replay would not lead to the same state, and no snapshot of "
                    f"this episode is left: {self.replay_problem}"
                )
            self._go_on(backend, start, view)
            return
        try:
            with self._own_globals(view.log.seed):
                self._replay.load(self.env, view)
        except BaseException:
            self.abandon(_FAILED.format("a replay"))
            raise
        self._follow(view)

    def rewind(self, to: int, backend: Backend) -> None:
        """Go back to `to` actions taken, from the nearest held state or from the reset."""
        view = EpisodeView(self.view().log, to)
        held = self._nearest(to)
        if held is None or isinstance(backend, ReplayBackend) or held.backend != backend.name:
            self.replay(view, backend)
            return
        self._go_on(backend, held, view, "a rollback")

    def return_to(self, view: EpisodeView, backend: Backend) -> None:
        """Come to the end of `view`, whose own data is gone, from the nearest state held."""
        for length in range(view.length, -1, -1):
            held = self._anchors.get(view.log.digest(length))
            if held is None or held.backend != backend.name:
                continue
            # Luck that was seeded anew there must be the luck that this path had.
            if held.view.entropy in (None, view.entropy_before(length)):
                self._go_on(backend, held, view)
                return
        self.replay(view, backend)

    def _go_on(
        self, backend: Backend, held: SnapshotRecord, view: EpisodeView, what: str = "a restore"
    ) -> None:
        self.put_back(backend, held)
        try:
            with self._own_globals():
                self._replay.redo(self.env, view, first=held.view.length)
        except BaseException:
            self.abandon(_FAILED.format(what))
            raise
        self._follow(view)

    def repeat(self, moves: Sequence[Transition], start: EpisodeStart | None) -> None:
        """Repeat `moves` from the reset `start`, or from the current state; verified."""
        if start is None:
            self.view()
        elif self.replay_problem:
            raise SnapshotUnsupported(f"this environment cannot be replayed: {self.replay_problem}")
        else:
            observation, _ = self.reset(start.seed, start.options)
            if start.observation is not None and not same(start.observation, observation):
                self.abandon(_FAILED.format("a replay"))
                raise other_start(start.seed, start.observation, observation)
        for move in moves:
            if move.entropy is not None:
                self.reseed(move.entropy)
            self._replay.replayed += 1
            self._verify(self.taken, move, self.step(move.action))

    def reseed(self, entropy: int) -> None:
        """Continue with other luck; logged, so that replays meet the same."""
        with self._own_globals():
            reseed(self.env, entropy)
        self._pending = entropy

    def stop_watching(self) -> None:
        """Look out for undeclared use of the global generators no longer."""
        self._globals.stop_watching()

    def learn_globals(self) -> None:
        """Take in what a proof on other instances found out about the global generators."""
        self._globals.refresh(self.env)

    def _own_globals(
        self, seed: int | None = None, *, watch: bool = False
    ) -> AbstractContextManager[None]:
        """Around a call into the environment that may draw from the global generators."""
        if not self._globals.active:
            return _NOTHING
        return self._globals.around(self.env, seed, watch=watch)

    def _move_to(self, env: AnyEnv) -> None:
        """Go on with another chain; one in a process of its own is ended."""
        old, self.env = self.env, env
        if isinstance(old, RemoteEnv) and old is not env:
            old.close()
        if isinstance(env, RemoteEnv):
            self._globals = EnvGlobalRandom(env, watch="never")

    def _verify(self, step: int, move: Transition, outcome: StepOutcome) -> None:
        """Compare what action number `step` gave with what it gave before."""
        try:
            compare(step, move, outcome)
        except BaseException:
            self.abandon(_FAILED.format("a replay"))
            raise

    def _follow(self, view: EpisodeView) -> None:
        """The chain is now at the end of `view`; keep only marks that lie on its path."""
        if self.log is not view.log:
            self._snapshots.clear()
        else:
            while self._snapshots and self._snapshots[-1][0] >= view.length:
                self._snapshots.pop()
        self.log = view.log
        self.taken = view.length
        self._pending = view.entropy
        self.fresh = False

    def _nearest(self, to: int) -> SnapshotRecord | None:
        """The last state held at or before `to` on the current path."""
        for step, reference in reversed(self._snapshots):
            held = reference()
            if step <= to and held is not None and held.usable:
                return held
        return None

    def _seed(self, seed: int | None) -> int:
        """A seed for every episode: only a seeded one can be done again.

        Where none is given the next number of a sequence is taken that begins with the last seed
        that was given, so a program that seeds only its first reset stays reproducible.
        """
        if seed is not None:
            self._seeds = np.random.SeedSequence(seed)
            return int(seed)
        if self._seeds is None:
            self._seeds = np.random.SeedSequence()
        (child,) = self._seeds.spawn(1)
        return int(child.generate_state(1, np.uint32)[0])


class _Anchors:
    """States held somewhere, by the digest of the episode that leads there; keeps none alive.

    Plain weak references, cleared out now and then: `WeakValueDictionary` does it at once and
    costs three times as much.
    """

    def __init__(self) -> None:
        self._known: dict[str, weakref.ref[SnapshotRecord]] = {}
        self._most = 256

    def get(self, digest: str) -> SnapshotRecord | None:
        """A state that can be loaded, or None."""
        reference = self._known.get(digest)
        held = None if reference is None else reference()
        return held if held is not None and held.usable else None

    def offer(self, digest: str, held: SnapshotRecord) -> None:
        """Take a state in, where none is known that can be loaded."""
        if self.get(digest) is None:
            self._known[digest] = weakref.ref(held)
            if len(self._known) > self._most:
                self._known = {key: one for key, one in self._known.items() if one() is not None}
                self._most = max(256, 2 * len(self._known))


class _Naming:
    """Says that it was the way back that failed, not a step of the environment.

    A class, because a generator as context manager costs a good part of a cheap restore.
    """

    __slots__ = ("_backend", "_verb", "_view")

    def __init__(self, backend: Backend, verb: str, view: EpisodeView) -> None:
        self._backend, self._verb, self._view = backend, verb, view

    def __enter__(self) -> None:
        """Nothing is to be done."""

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, LeafeError):
            raise BackendError(
                f"backend {self._backend.name!r} failed to {self._verb} step {self._view.length}: "
                f"{type(error).__name__}: {error}; try another backend (see check_rollback)"
            ) from error


def _number(reward: Any, step: int, action: Any) -> float:
    try:
        return float(reward)
    except (TypeError, ValueError) as error:
        raise EnvironmentFailure(
            f"step {step} (action {show(action)}) gave the reward {show(reward)}, which is no "
            "number; fix the environment"
        ) from error


def _bad_outcome(reward: float, info: Any, step: int, action: Any) -> EnvironmentFailure:
    where = f"step {step} (action {show(action)})"
    if not isfinite(reward):
        return EnvironmentFailure(
            f"{where} gave the reward {reward}; rewards must be finite. Fix the environment, or "
            "clip the reward in a wrapper inside this one"
        )
    return EnvironmentFailure(
        f"{where} gave {type(info).__name__} as info; it must be a dict. Fix the environment"
    )
