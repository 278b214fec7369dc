"""Each broken promise is caught with the right words, or handled; nothing healthy is blamed."""

from __future__ import annotations

from typing import Any

import broken_envs as broken
import gymnasium as gym
import pytest
from broken_envs import PROMISES
from toy_envs import register

from leafe_gym.errors import SnapshotUnsupported
from leafe_gym.wrappers import RollbackWrapper
from leafe_gym.wrappers.verification.check import check_rollback

PROBE = ["draw", "add", "double"]


def build(subject: Any) -> Any:
    """As users would: with the wrappers of gymnasium.make; a factory where it is one."""
    if not isinstance(subject, type):
        return subject
    env_id = register(subject)
    return lambda: gym.make(env_id, disable_env_checker=True)


def test_twelve() -> None:
    assert len(PROMISES) == 12


@pytest.mark.parametrize("promise", PROMISES)
def test_check_rollback(promise: str) -> None:
    case = PROMISES[promise]
    elsewhere = case.caught in ("", "in another process")
    report = check_rollback(build(case.subject), actions=PROBE, seeds=(0,), other_process=elsewhere)
    assert report.ok == (not case.caught), str(report)
    assert case.caught in " ".join(report.failures)
    for backend, reason in case.refused.items():
        verdict = report.verdict(backend)
        assert verdict.outcome in ("refused", "wrong")
        assert reason in verdict.reason


@pytest.mark.parametrize("promise", PROMISES)
def test_a_restore_is_right_or_raises(promise: str) -> None:
    case = PROMISES[promise]
    make = build(case.subject)
    env = RollbackWrapper(make(), factory=make, probe_actions=PROBE)
    env.reset(seed=0)
    for action in PROBE:
        env.step(action)
    if not case.backend:
        with pytest.raises(SnapshotUnsupported, match="no backend can restore"):
            env.snapshot()
    else:
        mark = env.snapshot()
        assert mark.kind in case.backend.split("|"), str(env.backend_report)
        first = [env.step(action)[:4] for action in PROBE]
        observation, info = env.restore(mark)
        assert info["score"] == int(observation.split()[1])
        assert [env.step(action)[:4] for action in PROBE] == first
    env.close()


def test_slots_of_wrappers() -> None:
    env = RollbackWrapper(broken.slots(), factory=broken.slots)
    env.reset(seed=0)
    assert env.snapshot().kind == "pickle"
    reason = env.backend_report.refused["native"]
    assert "the wrapper Slots keeps state in __slots__ (history)" in reason


def test_threads_are_named() -> None:
    env = RollbackWrapper(build(broken.Threaded)(), "fork", probe_actions=PROBE)
    env.reset(seed=0)
    with pytest.raises(SnapshotUnsupported, match=r"runs 1 thread \(ticker\)"):
        env.snapshot()
    env.close()


FREE = (
    *("FrozenLake-v1", "FrozenLake8x8-v1", "Taxi-v4", "CliffWalking-v1", "Blackjack-v1"),
    *("CartPole-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1", "Acrobot-v1"),
    "leafe/Sokoban-v0",
)


@pytest.mark.parametrize("env_id", FREE)
def test_no_false_alarm(env_id: str) -> None:
    elsewhere = env_id.startswith(("FrozenLake-", "Taxi", "Pendulum", "leafe"))
    report = check_rollback(env_id, seeds=(0,), other_process=elsewhere)
    report.raise_for_failures()
    assert report.elsewhere == ("same" if elsewhere else "not tried")
    assert not report.unproved
    wrong = [one for one in report.verdicts if one.outcome == "wrong"]
    assert not wrong, str(report)
