"""One chain of wrappers and the log of its episode: stepping, saving, restoring, replaying.

The controller assumes a correct backend; `verify` checks that assumption on separate instances.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

import gymnasium as gym

from leafe_gym.errors import BackendError, LeafeError, ResetNeeded, SnapshotUnsupported
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
from leafe_gym.wrappers.rollback.episode_seeds import EpisodeSeeds
from leafe_gym.wrappers.rollback.outcomes import (
    StepOutcome,
    judged_success,
    reported_success,
    reset_outcome,
    step_outcome,
)
from leafe_gym.wrappers.rollback.random_state import EnvGlobalRandom, Watch
from leafe_gym.wrappers.rollback.remote import RemoteEnv
from leafe_gym.wrappers.rollback.snapshot_index import SnapshotIndex
from leafe_gym.wrappers.rollback.values import ATOMS, private_copy, same, separate
from leafe_gym.wrappers.rollback.wrapper_state import reseed

AnyEnv = gym.Env[Any, Any]
Won = Callable[[float, bool, Info], bool]

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
        watch: how closely to look for undeclared use of the global generators.
        remake: makes another instance, for a restore after a call into this one raised; None, or
            a result of None, to reset this one instead.
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
        self._remake = remake
        self.replay_problem = ""
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
        try:
            outcome = self._watched(self.env.reset, seed=seed, options=separate(options))
        except BaseException:
            self._broken = True
            raise
        observation, info = reset_outcome(outcome, seed)
        self.fresh = False
        log.observation, log.info = private_copy(observation), private_copy(info)
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
                    self._globals.caught(self.env)
            outcome = step_outcome(outcome, taken, kept)
            observation, reward, terminated, truncated, info = outcome
            record = private_copy(info)
            won = record.get("won")
            if won is not True and won is not False:
                won = reported_success(record, taken, kept)
        except BaseException:
            self._broken = True
            if random is not None:
                self._globals.caught(self.env)
            self.abandon(_FAILED.format(f"step {taken}"))
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
            return function(*args, **kwargs)
        finally:
            random.caught(self.env)

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

    def hold(
        self, backend: Backend, configuration: Any, owner: int
    ) -> tuple[SnapshotRecord, SavedState]:
        """Save the current state."""
        view = self.view()
        try:
            saved = backend.save(self.env, view)
        except LeafeError:
            raise
        except Exception as error:
            raise _backend_failed(backend, "save", view, error) from error
        data = (saved.data, self._globals.state if self._globals.used else None)
        if saved.env is not None:
            self._move_to(saved.env)
        held = SnapshotRecord(backend.name, data, view, configuration, owner)
        if self._snapshots and self._snapshots[-1][0] == self.taken:
            self._snapshots.pop()
        self._snapshots.append((self.taken, weakref.ref(held)))
        self._anchors.offer(view.log.digest(view.length), held)
        return held, saved

    def put_back(self, backend: Backend, held: SnapshotRecord) -> None:
        """Load a state that was held; on failure the episode is abandoned."""
        view = held.view
        log = view.log
        random = self._globals
        try:
            if not backend.rebuilds:
                self._renew()
            if self.fresh and not backend.rebuilds and not isinstance(backend, ReplayBackend):
                # Some environments make attributes in `reset` that `set_state` counts on.
                random.resume(self.env, log.random_start(), None)
                with self._own_globals():
                    self.env.reset(seed=log.seed, options=private_copy(log.options))
            random.resume(self.env, view.random_start, held.data[1])
            env = self._load(backend, held)
            if env is not self.env:
                self._move_to(env)
            random.state = held.data[1]
        except BaseException:
            self._broken = True
            self.abandon(_FAILED.format("a restore"))
            raise
        self._broken = False
        self._follow(view)
        self._snapshots.append((view.length, weakref.ref(held)))

    def _load(self, backend: Backend, held: SnapshotRecord) -> AnyEnv:
        try:
            if not self._globals.applies():
                return backend.load(self.env, held.data[0])
            with self._globals.around(self.env):
                return backend.load(self.env, held.data[0])
        except LeafeError:
            raise
        except Exception as error:
            raise _backend_failed(backend, "restore", held.view, error) from error

    def _renew(self) -> None:
        """Discard an instance in which a call raised: its state may be half changed.

        A restore that loads only part of the state would keep the rest.
        """
        if not self._broken:
            return
        old = self.env
        if isinstance(old, RemoteEnv):
            old.close()  # the next reset starts a new process
        elif self._remake is not None and (made := self._remake()) is not None:
            self.env = made
            with suppress(Exception):
                old.close()
        self._broken = False
        self.fresh = True

    def replay_seconds(self) -> tuple[float, float]:
        """(seconds for a reset, seconds per step) of replaying the episode so far."""
        view = self.view()
        self._globals.resume(self.env, view.log.random_start(), None)
        begin = time.perf_counter()
        with self._own_globals():
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

    def hold_start(self, backend: Backend, configuration: Any, owner: int) -> None:
        """Save the state after a reset, where an episode cannot be replayed from its seed."""
        held, _ = self.hold(backend, configuration, owner)
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
            self._renew()
            self._globals.resume(self.env, view.log.random_start(), None)
            with self._own_globals():
                self._replay.load(self.env, view)
        except BaseException:
            self._broken = True
            self.abandon(_FAILED.format("a replay"))
            raise
        self._follow(view)
        self._globals.start = view.random_start

    def rewind(self, to: int, backend: Backend) -> None:
        """Roll back to `to` actions taken, from the nearest snapshot or from the reset."""
        view = EpisodeView(self.view().log, to)
        held = self._nearest(to)
        if held is None or isinstance(backend, ReplayBackend) or held.backend != backend.name:
            self.replay(view, backend)
            return
        self._go_on(backend, held, view, "a rollback")

    def return_to(self, view: EpisodeView, backend: Backend) -> None:
        """Reach the end of `view`, whose own data was freed, from the nearest saved state."""
        for length in range(view.length, -1, -1):
            held = self._anchors.get(view.log.digest(length))
            if held is None or held.backend != backend.name:
                continue
            if self.replay_problem and held.view.log.random is not view.log.random:
                continue  # another reset, which may have led to another state
            # If the random state was reseeded at that point, this path must have had the same.
            if held.view.entropy in (None, view.entropy_before(length)):
                self._go_on(backend, held, view)
                return
        self.replay(view, backend)

    def _go_on(
        self, backend: Backend, held: SnapshotRecord, view: EpisodeView, what: str = "a restore"
    ) -> None:
        self.put_back(backend, held)
        try:
            start = EpisodeView(view.log, held.view.length, held.view.entropy).random_start
            self._globals.resume(self.env, start, self._globals.state)
            with self._own_globals():
                self._replay.redo(self.env, view, first=held.view.length)
        except BaseException:
            self._broken = True
            self.abandon(_FAILED.format(what))
            raise
        self._follow(view)
        self._globals.start = view.random_start

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
            self._verify(self.taken, move, self.step(private_copy(move.action)))

    def reseed(self, entropy: int) -> None:
        """Continue with other random numbers; logged, so that replays draw the same."""
        if self.log is not None:
            self._globals.begin(self.env, self.log.random_start(entropy))
        with self._own_globals():
            reseed(self.env, entropy)
        self._pending = entropy

    def stop_watching(self) -> None:
        """Stop looking for undeclared use of the global generators."""
        self._globals.stop_watching()

    def learn_globals(self, *, verified: bool) -> None:
        """Apply what a verification on other instances has found about global generators.

        One that succeeded has watched every call: here the cheap comparison is enough, which
        needs no lock, so that environments in several threads do not wait for each other.
        """
        self._globals.learn(self.env)
        if verified:
            self._globals.compare_only()

    def _own_globals(self) -> AbstractContextManager[None]:
        """A context for calls into the environment that may draw from the global generators."""
        return self._globals.around(self.env) if self._globals.applies() else _NOTHING

    def _move_to(self, env: AnyEnv) -> None:
        """Continue with another chain; a replaced one in a process of its own is ended."""
        old, self.env = self.env, env
        if isinstance(old, RemoteEnv) and old is not env:
            old.close()
        if isinstance(env, RemoteEnv):
            self._globals = EnvGlobalRandom(env, watch="never")

    def _verify(self, step: int, move: Transition, outcome: StepOutcome) -> None:
        """Compare the outcome of action number `step` with the recorded one."""
        try:
            compare(step, move, outcome)
        except BaseException:
            self.abandon(_FAILED.format("a replay"))
            raise

    def _follow(self, view: EpisodeView) -> None:
        """The chain is now at the end of `view`; keep only the snapshots on its path."""
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


def _backend_failed(
    backend: Backend, verb: str, view: EpisodeView, error: Exception
) -> BackendError:
    """Says that the backend failed, not a step of the environment."""
    return BackendError(
        f"backend {backend.name!r} failed to {verb} step {view.length}: "
        f"{type(error).__name__}: {error}; try another backend (see check_rollback)"
    )
