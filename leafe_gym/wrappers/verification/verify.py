"""Showing that a backend is right, on instances nobody else uses.

That a state can be saved without an error says nothing: an EzPickle environment pickles well and
starts anew. So a proof goes on from a snapshot, comes back twice, goes on in the same and in
another way, out of order, after another episode and in another instance, and compares everything.
"""

from __future__ import annotations

import pickle
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym

from leafe_gym.errors import BackendError, SnapshotUnsupported
from leafe_gym.wrappers.backends.base import Backend
from leafe_gym.wrappers.backends.pickled import brief
from leafe_gym.wrappers.rollback.controller import RollbackController
from leafe_gym.wrappers.rollback.episode_log import SnapshotRecord
from leafe_gym.wrappers.rollback.random_state import globals_kept
from leafe_gym.wrappers.rollback.remote import RemoteEnv
from leafe_gym.wrappers.rollback.snapshot_size import measure
from leafe_gym.wrappers.rollback.values import difference, private_copy, same, show
from leafe_gym.wrappers.verification.action_script import ActionScript
from leafe_gym.wrappers.verification.instance_factory import close_quietly, quietly
from leafe_gym.wrappers.verification.report import BackendCost, BackendVerdict

AnyEnv = gym.Env[Any, Any]
Make = Callable[[], AnyEnv]
TrialOutcome = tuple[Any, ...]

FIELDS = ("observation", "reward", "terminated", "truncated", "info", "state of np_random")
_INFO = ("won", "score", "admissible_commands", "instruction")
_TIMED = 15
TYPICAL_STEPS = 25
"""Actions of a typical episode; a replay is expected to do half of them again."""

_SLOW_SECONDS = 0.02


class _Differs(Exception):
    """One outcome that is not what it was the first time.

    Attributes:
        step: its action number, from the start of the episode.
    """

    def __init__(self, reason: str, step: int | None) -> None:
        super().__init__(reason)
        self.step = step


def verify_backend(backend: Backend, make: Make, script: ActionScript) -> BackendVerdict:
    """Try `backend` on new instances from `make`; every failure becomes a verdict."""
    name = backend.name
    with quietly(), globals_kept():
        trial = _Trial(backend, make, script)
        try:
            if reason := trial.begin():
                return BackendVerdict(backend=name, outcome="refused", reason=reason)
            trial.same_instance()
            instance_only = trial.other_instance()
            portable = not instance_only and trial.portable()
            cost = trial.cost()
        except _Differs as error:
            return BackendVerdict(backend=name, outcome="wrong", reason=str(error), step=error.step)
        except SnapshotUnsupported as error:
            return BackendVerdict(backend=name, outcome="refused", reason=str(error))
        except BackendError as error:
            step = getattr(error, "step", None)
            return BackendVerdict(backend=name, outcome="wrong", reason=str(error), step=step)
        except Exception as error:  # noqa: BLE001 - half-restored environments raise anything
            return BackendVerdict(backend=name, outcome="wrong", reason=brief(error))
        finally:
            trial.close()
    if not script.changed:
        reason = "no action was found that changes the observation; pass probe_actions="
        return BackendVerdict(backend=name, outcome="unproved", reason=reason, cost=cost)
    return BackendVerdict(
        backend=name,
        outcome="right",
        reason="only in the instance that made it" if instance_only else "",
        cost=cost,
        portable=portable,
        instance_only=instance_only,
    )


class _Trial:
    """The steps of one proof, in order."""

    def __init__(self, backend: Backend, make: Make, script: ActionScript) -> None:
        self._backend = backend
        self._make = make
        self._script = script
        self._controllers: list[RollbackController] = []
        self._made: list[AnyEnv] = []
        self._snapshots: list[SnapshotRecord] = []

    def begin(self) -> str | None:
        """Play up to the snapshot; says why the backend refuses, if it does."""
        self._controller = self._new()
        self._controller.reset(self._script.seed, self._script.options)
        run_actions(self._controller, self._script.prefix)
        return self._backend.refusal(self._controller.env)

    def same_instance(self) -> None:
        """Come back in place: twice, to two states in turn, and after another episode."""
        controller, script = self._controller, self._script
        a = self._hold(controller)
        head = run_actions(controller, script.first[:1])
        b = self._hold(controller)
        tail = run_actions(controller, script.first[1:])
        whole = (*head[:-1], *tail)
        self._check("coming back once", a, script.first, whole)
        self._load(controller, a)
        other = run_actions(controller, script.second)
        self._check("coming back to a later state", b, script.first[1:], tail)
        self._check("coming back a second time", a, script.second, other)
        self._other_episode()
        self._check("coming back from another episode", a, script.first, whole)
        self._a, self._whole = a, whole

    def _other_episode(self) -> None:
        controller, script = self._controller, self._script
        try:
            controller.reset(script.seed + 1, script.options)
        except Exception:  # noqa: BLE001 - an environment need not know every seed
            controller.reset(script.seed, script.options)
        run_actions(controller, script.second[:2])

    def other_instance(self) -> bool:
        """Whether the data is wrong in an instance that did not make it."""
        if self._backend.rebuilds:
            return False
        controller = self._new()
        try:
            self._check("another instance", self._a, self._script.first, self._whole, controller)
        except Exception:  # noqa: BLE001 - half-restored environments raise anything
            return True
        return False

    def portable(self) -> bool:
        """Whether the data comes through a pickle and is right afterwards."""
        if self._backend.scope == "instance":
            return False
        try:
            copied: SnapshotRecord = pickle.loads(pickle.dumps(self._a))
            self._check("a pickled snapshot", copied, self._script.first, self._whole, self._new())
        except Exception:  # noqa: BLE001 - states hold anything; then it stays in the process
            return False
        return True

    def cost(self) -> BackendCost:
        """Median of some saves and loads of the first state."""
        controller = self._controller
        controller.stop_watching()  # which takes time that nobody else will spend
        if self._backend.name == "replay":
            return self._replay_cost()
        saves: list[float] = []
        loads: list[float] = []
        nbytes = 0
        for _ in range(_TIMED):
            begin = time.perf_counter()
            self._load(controller, self._a)
            middle = time.perf_counter()
            held, saved = controller.hold(self._backend, "", 0)
            end = time.perf_counter()
            self._snapshots.append(held)
            loads.append(middle - begin)
            saves.append(end - middle)
            nbytes = saved.nbytes
            if end - begin > _SLOW_SECONDS:
                break
        if not nbytes:
            nbytes = measure(self._a.data[0])
        return BackendCost(statistics.median(saves) * 1e6, statistics.median(loads) * 1e6, nbytes)

    def _replay_cost(self) -> BackendCost:
        """What a restore costs half-way through an episode of a typical length."""
        tries = []
        for _ in range(_TIMED):
            reset, step = self._controller.replay_seconds()
            tries.append(reset + step * TYPICAL_STEPS / 2)
            if tries[-1] > _SLOW_SECONDS:
                break
        return BackendCost(0.0, statistics.median(tries) * 1e6)

    def close(self) -> None:
        """Give up everything that was made for the proof."""
        for held in self._snapshots:
            self._backend.release(held.data[0])
        made = {id(env): env for env in (*(one.env for one in self._controllers), *self._made)}
        for env in made.values():
            close_quietly(env)

    def _new(self) -> RollbackController:
        env = self._make()
        self._made.append(env)
        controller = RollbackController(env, watch="always")
        self._controllers.append(controller)
        return controller

    def _hold(self, controller: RollbackController) -> SnapshotRecord:
        held, _ = controller.hold(self._backend, "", 0)
        self._snapshots.append(held)
        return held

    def _load(self, controller: RollbackController, held: SnapshotRecord) -> None:
        controller.put_back(self._backend, held)

    def _check(
        self,
        what: str,
        held: SnapshotRecord,
        actions: Sequence[Any],
        expected: Sequence[TrialOutcome],
        controller: RollbackController | None = None,
    ) -> None:
        controller = controller or self._controller
        self._load(controller, held)
        first = held.view.length
        for index, (before, now) in enumerate(
            zip(expected, run_actions(controller, actions), strict=False)
        ):
            for name, left, right in zip(FIELDS, before, now, strict=True):
                if not same(left, right):
                    action = show(actions[index]) if index < len(actions) else "none"
                    step = first + min(index, max(0, len(actions) - 1))
                    raise _Differs(
                        f"{what}: step {step}, action {action}: {name} {difference(left, right)}",
                        step,
                    )


def run_actions(controller: RollbackController, actions: Sequence[Any]) -> list[TrialOutcome]:
    """Outcomes of some actions, up to the end of the episode, and the generator's state last."""
    outcomes: list[TrialOutcome] = []
    over = False
    if controller.taken:
        last = controller.view().log.transitions[controller.taken - 1]
        over = last.terminated or last.truncated
    for action in actions:
        if over:
            break
        observation, reward, terminated, truncated, info = controller.step(action)
        subset = {key: private_copy(info[key]) for key in _INFO if key in info}
        outcomes.append((private_copy(observation), reward, terminated, truncated, subset, None))
        over = terminated or truncated
    state = _generator_state(controller.env.unwrapped)
    return [*outcomes, (None, None, None, None, None, state)]


def _generator_state(bare: Any) -> Any:
    if isinstance(bare, RemoteEnv):
        return bare.generator_state()
    return None if bare._np_random is None else bare._np_random.bit_generator.state
