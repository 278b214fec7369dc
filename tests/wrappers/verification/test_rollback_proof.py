"""Proofs: done once, on nobody's environment, by backends of anybody."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gymnasium as gym
import pytest
import toy_envs as toys
from toy_envs import make, register

from leafe_gym.errors import BackendError, SnapshotUnsupported
from leafe_gym.wrappers import RollbackWrapper
from leafe_gym.wrappers.backends import BACKENDS, Backend, make_backend
from leafe_gym.wrappers.backends.native import NativeBackend
from leafe_gym.wrappers.verification.action_script import ActionScript, find_script
from leafe_gym.wrappers.verification.check import check_rollback
from leafe_gym.wrappers.verification.instance_factory import InstanceUnavailable
from leafe_gym.wrappers.verification.verify import verify_backend


class Counted(toys.Native):
    """Counts its instances."""

    made = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).made += 1


class Picky(toys.Native):
    """Knows one seed and needs an option."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        if seed != 77 or options != {"plus": 1}:
            raise KeyError(seed)
        return super().reset(seed=seed, options=options)


class Broken(toys.Native):
    """Cannot begin."""

    def reset(self, **kwargs: Any) -> Any:
        raise OSError("no server")


class Handle(toys.Native):
    """Whose states cannot be pickled."""

    lock = threading.Lock()

    def get_state(self) -> Any:
        return super().get_state(), self.lock

    def set_state(self, state: Any) -> None:
        super().set_state(state[0])


class Holds(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """A wrapper with an open handle."""

    def __init__(self, env: Any) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        self.handle = [threading.Lock()]


class Elsewhere(NativeBackend):
    """A backend of another package."""

    name = "elsewhere"


def test_many_environments_prove_once() -> None:
    def run(_: int) -> str:
        env = RollbackWrapper(gym.make(register(Counted)))
        env.reset(seed=0)
        return env.snapshot().kind

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(run, range(64))) == {"native"}
    assert Counted.made == 64  # no further instance in this process


def test_a_plain_factory_proves_once() -> None:
    before = Counted.made
    for _ in range(3):
        env = RollbackWrapper(Counted(), factory=Counted_)
        env.reset(seed=0)
        env.snapshot()
        assert env.backend_report.proved
    assert Counted.made == before + 3


def Counted_() -> gym.Env[Any, Any]:
    return Counted()


def test_the_choice_is_made_at_the_first_reset() -> None:
    env = RollbackWrapper(make(toys.Ez), "pickle")
    assert "at the first reset" in str(env.backend_report)
    assert (env.backend_report.chosen, env.backend_report.cost) == ("", None)
    env.reset(seed=0)
    assert "silently start anew" in env.backend_report.refused["pickle"]
    env.step("add")  # stepping needs no backend
    env.rollback(1)
    with pytest.raises(SnapshotUnsupported, match="silently start anew"):
        env.rollback(0)
    assert "none is correct" in str(env.backend_report)


def test_the_callers_seed_and_options_are_used() -> None:
    env = RollbackWrapper(make(Picky))
    env.reset(seed=77, options={"plus": 1})
    assert env.snapshot().kind == "native"
    assert env.backend_report.proved


def test_a_second_instance_that_does_not_start() -> None:
    def healthy() -> gym.Env[Any, Any]:
        return toys.Native()

    env = RollbackWrapper(healthy(), factory=lambda: make(Broken).unwrapped)
    env.reset(seed=0)
    env.snapshot()
    assert "came out as" in env.backend_report.note
    with pytest.raises(InstanceUnavailable, match="no server"):
        find_script(lambda: make(Broken))
    env.close()


def test_spec_that_cannot_be_made_again() -> None:
    env_id = register(toys.Native, name="ConnectionClosed")
    env = RollbackWrapper(gym.make(env_id, disable_env_checker=True))
    assert env.env.spec is not None
    env.env.spec.entry_point = "no.such.module:Env"
    env.reset(seed=0)
    assert env.snapshot().kind == "replay"
    assert "a second instance cannot be made" in env.backend_report.note


def test_actions_of_the_episode_help_later() -> None:
    class Secret(toys.Native):
        def reset(self, **kwargs: Any) -> Any:
            super().reset(**kwargs)
            return self.text(), {}

        def text(self) -> str:
            return f"{self.value}"

        def step(self, action: str) -> Any:
            words = {"plugh": "add", "xyzzy": "double"}
            return super().step(words.get(action, "wait"))

    env = RollbackWrapper(make(Secret))
    env.reset(seed=0)
    early = env.snapshot()
    assert (early.kind, env.backend_report.proved) == ("replay", False)
    for action in ("plugh", "xyzzy") * 4:
        env.step(action)
    assert env.snapshot().kind == "replay"  # never in mid-episode
    env.reset(seed=1)
    for action in ("plugh", "xyzzy") * 4:
        env.step(action)
    late = env.snapshot()
    assert (late.kind, env.backend_report.proved) == ("native", True)
    assert env.restore(early)[0] == env.rollback(0)[0]
    env.restore(late)
    assert env.steps == 8


def test_report() -> None:
    env = RollbackWrapper(make(toys.Counter))
    env.reset(seed=0)
    env.snapshot()
    report = env.backend_report
    assert (report.chosen, report.proved, report.asked) == ("pickle", True, "auto")
    assert list(report.refused) == ["native"]
    assert report.cost is not None
    assert report.cost.nbytes > 100
    assert "save" in str(report)
    assert "bytes" in str(report)


def test_backends_of_other_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS._own, "elsewhere", Elsewhere)
    assert BACKENDS.names() == [
        *("native", "pickle", "deepcopy", "replay", "fork", "docker", "elsewhere")
    ]
    env = RollbackWrapper(make(toys.Native), "elsewhere")
    env.reset(seed=0)
    assert env.snapshot().kind == "elsewhere"
    assert env.backend_report.proved
    for name in BACKENDS.names():
        backend = make_backend(name)
        assert isinstance(backend, Backend)
        backend.close()


def test_backends_that_raise() -> None:
    class Refuses(NativeBackend):
        def save(self, env: Any, view: Any) -> Any:
            raise SnapshotUnsupported("not today")

    class Raises(NativeBackend):
        def load(self, env: Any, data: Any) -> Any:
            raise OSError("gone")

    script = find_script(lambda: make(toys.Native))
    assert verify_backend(Refuses(), lambda: make(toys.Native), script).outcome == "refused"
    verdict = verify_backend(Raises(), lambda: make(toys.Native), script)
    assert verdict.outcome == "wrong"
    assert "gone" in verdict.reason


def test_save_failures_name_the_backend() -> None:
    class Fails(toys.Native):
        def get_state(self) -> Any:
            if len(self.trail) == 1 and self.trail[0] == "late":
                raise OSError("gone")
            return super().get_state()

    env = RollbackWrapper(make(Fails), "native")
    env.reset(seed=0)
    env.snapshot()
    env.step("late")
    with pytest.raises(BackendError, match="'native' failed to save step 1: OSError: gone"):
        env.snapshot()


def test_unpicklable_native_state_stays_in_the_process() -> None:
    env = RollbackWrapper(make(Handle))
    env.reset(seed=0)
    mark = env.snapshot()
    assert (mark.kind, mark.scope) == ("native", "process"), str(env.backend_report)
    assert mark.nbytes > 100


def test_wrappers_that_hold_handles() -> None:
    def build() -> gym.Env[Any, Any]:
        return Holds(make(toys.Native))

    env = RollbackWrapper(build(), factory=build)
    env.reset(seed=0)
    assert env.snapshot().kind == "replay"
    assert "handle" in env.backend_report.refused["native"]


def test_failed_restores_need_a_reset() -> None:
    env = RollbackWrapper(make(toys.Native), "native")
    env.reset(seed=0)
    mark = env.snapshot()
    mark.payload.data = ((3, mark.payload.data[0][1]), None)
    with pytest.raises(BackendError, match="failed to restore step 0: TypeError"):
        env.restore(mark)
    with pytest.raises(Exception, match="restore failed"):
        env.step("add")


def test_a_close_that_raises_changes_nothing() -> None:
    class Sticky(toys.Native):
        def close(self) -> None:
            raise OSError("stuck")

    assert check_rollback(Sticky).ok


def test_script_without_actions() -> None:
    assert not ActionScript(0).changed
    assert find_script(lambda: make(toys.Admissible), actions=[]).source == "no actions"
