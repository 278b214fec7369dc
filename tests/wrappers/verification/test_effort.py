"""How much is verified: slow environments, options, named backends, forks and interrupts."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import time
from typing import Any

import gymnasium as gym
import pytest
import toy_envs as toys

import leafe_gym as lg
from leafe_gym.wrappers.verification import instance_factory, process, selection


class Slow(toys.Counter):
    """Counts its resets."""

    seconds = (0.1, 0.0)
    resets = 0
    steps = 0

    def reset(self, **kwargs: Any) -> Any:
        type(self).resets += 1
        time.sleep(self.seconds[0])
        return super().reset(**kwargs)

    def step(self, action: str) -> Any:
        type(self).steps += 1
        time.sleep(self.seconds[1])
        return super().step(action)


class SlowStep(Slow):
    seconds = (0.0, 0.05)


class SlowBoth(Slow):
    seconds = (0.1, 0.05)


@pytest.mark.parametrize("cls", [Slow, SlowStep, SlowBoth])
def test_slow_environments_are_verified_with_few_calls(cls: Any) -> None:
    cls.resets = cls.steps = 0
    instances = instance_factory.InstanceFactory(cls(), cls)
    request = selection.VerificationRequest(actions=["add", "double"])
    found = selection.verify_instances(instances, request)
    assert found.slow
    assert found.outcomes()["pickle"] == "right", found
    assert "fork" not in found.verdicts or found.outcomes()["fork"] == "not tried"
    assert cls.resets <= 30
    assert cls.steps <= 250


class Xyzzy(gym.Env[str, str]):
    """Only one word acts, and the number is on the class."""

    count = 0
    observation_space = action_space = lg.TextSpace()

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        Xyzzy.count = 0
        return "say something", {}

    def step(self, action: str) -> Any:
        Xyzzy.count += action == "xyzzy"
        return "said", 0.0, False, False, {}


@pytest.mark.parametrize("backend", ["pickle", "deepcopy", "replay"])
def test_a_named_backend_that_is_unproved(backend: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            env = lg.RollbackWrapper(Xyzzy(), backend, factory=Xyzzy)
            env.reset(seed=0)
            assert "unproved" in env.backend_report.note
    said = [one for one in caplog.records if f"'{backend}' is used unproved" in one.message]
    assert len(said) == 1


class Shared(toys.Counter):
    """Keeps its number on the class where an option says so."""

    shared = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.common = bool(options)
        Shared.shared = 0
        return super().reset(seed=seed)

    def step(self, action: str) -> Any:
        observation, *rest = super().step(action)
        Shared.shared += 1
        return (f"{observation} {Shared.shared}" if self.common else observation, *rest)


@pytest.mark.parametrize("options", [{"mode": "shared"}, {"shared": True}, {"level": 3}])
def test_options_are_verified_for_themselves(options: Any) -> None:
    for given in (None, options):
        env = lg.RollbackWrapper(Shared(), factory=Shared, probe_actions=["add", "double"])
        env.reset(seed=1, options=given)
        disturbed = any(one.disturbed for one in env.backend_report.verdicts)
        assert disturbed == bool(given), str(env.backend_report)
        env.close()


@pytest.mark.parametrize("what", ["kinds", "warnings", "starting", "one kind"])
def test_a_fork_while_another_thread_holds_a_lock(what: str) -> None:
    kind = selection._KINDS.setdefault("a kind", selection._Kind())
    places: dict[str, Any] = {
        "kinds": lambda: selection._KINDS_LOCK,
        "warnings": lambda: instance_factory._WARNINGS_LOCK,
        "starting": lambda: process._STARTING,
        "one kind": lambda: kind.lock,
    }
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with places[what]():
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    child = os.fork()
    if child == 0:
        os._exit(0 if places[what]().acquire(timeout=5) else 1)
    code = os.waitpid(child, 0)[1]
    done.set()
    thread.join()
    assert code == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError])
def test_an_interrupted_job_in_a_fork_is_ended(error: Any, monkeypatch: Any) -> None:
    pids: list[int] = []
    real = process.receive

    def interrupted(sock: Any, *args: Any) -> Any:
        if pids:
            raise error
        pids.append(real(sock, *args))
        return pids[0]

    monkeypatch.setattr(process, "receive", interrupted)
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    with pytest.raises(error):
        process.run_in_fork(lambda: time.sleep(300))
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


@pytest.mark.parametrize("handle", [threading.Lock(), (n for n in ()), threading.local()])
def test_advice_for_a_factory_that_was_passed(handle: Any) -> None:
    held = [handle]
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        env = lg.RollbackWrapper(toys.Counter(), factory=lambda: (held, toys.Counter())[1])
        env.reset(seed=0)
    finally:
        stop.set()
        thread.join()
    assert "pass factory=" not in env.backend_report.note
    assert "cannot be pickled" in env.backend_report.note
    assert "threads are running" in env.backend_report.note


def test_without_a_folder_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    env = lg.RollbackWrapper(toys.Counter(), factory=lambda: toys.Counter())
    env.reset(seed=0)
    assert "set TMPDIR" in env.backend_report.note
    env.step("add")
    env.rollback(0)
