"""Global generators that an environment uses for the first time after many calls."""

from __future__ import annotations

import pickle
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import leafe_gym as lg
from leafe_gym.envs.space import TextSpace

CALLS = 1000


class Late(gym.Env[str, str]):
    """Counts, and shows a random number when told to draw."""

    def __init__(self) -> None:
        self.observation_space = self.action_space = TextSpace()
        self.count = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.count = 0
        if (options or {}).get("draw"):
            return self.draw(), {}
        return "start", {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.count += 1
        shown = self.draw() if action == "draw" else f"count {self.count}"
        return shown, 0.0, False, False, {}

    def draw(self) -> str:
        raise NotImplementedError

    def get_state(self) -> int:
        return self.count

    def set_state(self, state: int) -> None:
        self.count = state


class RandInt(Late):
    def draw(self) -> str:
        return str(random.randint(0, 10**6))


class NumPy(Late):
    def draw(self) -> str:
        return str(np.random.randint(0, 10**6))


class Gauss(Late):
    """The second normal number of a pair does not move the generator."""

    def draw(self) -> str:
        return str(random.gauss(0, 1))


class NumPyGauss(Late):
    def draw(self) -> str:
        return str(np.random.randn())


class Shuffle(Late):
    def draw(self) -> str:
        cards = list(range(10))
        random.shuffle(cards)
        return str(cards)


class OwnInstance(Late):
    """Draws a whole block of 624 numbers, after which the position is the old one."""

    def draw(self) -> str:
        return str([random.getrandbits(32) for _ in range(624)][-1])


KINDS = (RandInt, NumPy, Gauss, NumPyGauss, Shuffle, OwnInstance)


def fresh(cls: type[Late]) -> type[Late]:
    """A class that this process has not seen."""
    made = type(cls.__name__, (cls,), {"__module__": __name__})
    return made


def late(cls: type[Late], backend: str, calls: int = CALLS) -> lg.RollbackWrapper:
    """An environment after many calls, none of which drew."""
    env = lg.RollbackWrapper(cls(), backend, factory=cls, probe_actions=["a", "b"])
    for seed in range(calls // 20):
        env.reset(seed=seed)
        for _ in range(19):
            env.step("wait")
    env.reset(seed=5)
    env.step("wait")
    return env


@pytest.mark.parametrize("cls", KINDS)
@pytest.mark.parametrize("backend", ["native", "pickle", "deepcopy", "replay"])
def test_the_same_action_draws_the_same(cls: type[Late], backend: str) -> None:
    env = late(fresh(cls), backend)
    random.seed(1)
    np.random.seed(1)
    random.gauss(0, 1)
    np.random.randn()
    before = env.snapshot()
    first = [env.step("draw")[0], env.step("draw")[0]]
    between = env.snapshot()
    rest = [env.step(action)[0] for action in ("draw", "wait", "draw")]
    for _ in range(3):
        env.restore(before)
        random.random()
        np.random.random()
        assert [env.step("draw")[0], env.step("draw")[0]] == first
        env.restore(between)
        assert [env.step(action)[0] for action in ("draw", "wait", "draw")] == rest
    env.rollback(1)
    assert [env.step("draw")[0] for _ in range(2)] == first


@pytest.mark.parametrize("cls", [RandInt, NumPy, NumPyGauss])
@pytest.mark.parametrize("backend", ["native", "replay"])
def test_drawn_first_in_a_late_reset(cls: type[Late], backend: str) -> None:
    env = late(fresh(cls), backend)
    start = env.reset(seed=9, options={"draw": True})[0]
    snapshot = env.snapshot()
    first = env.step("draw")[0]
    random.random()
    np.random.random()
    for _ in range(2):
        assert env.restore(snapshot)[0] == start
        assert env.step("draw")[0] == first
        assert env.rollback(0)[0] == start
        assert env.step("draw")[0] == first


@pytest.mark.parametrize("cls", [RandInt, NumPy])
def test_other_instances_and_processes(cls: type[Late]) -> None:
    kind = cls  # pickles need a class that can be found
    env = late(kind, "replay")
    env.step("wait")
    first = [env.step("draw")[0] for _ in range(3)]
    snapshot = env.snapshot()
    again = env.step("draw")[0]
    other = lg.RollbackWrapper(kind(), "replay", factory=kind)
    for copied in (snapshot, pickle.loads(pickle.dumps(snapshot))):
        assert other.restore(copied)[0] == first[-1]
        assert other.step("draw")[0] == again


@pytest.mark.parametrize("cls", [RandInt, NumPy])
@pytest.mark.parametrize("backend", ["native", "replay"])
def test_first_use_after_a_fresh_restore(cls: type[Late], backend: str) -> None:
    env = late(fresh(cls), backend)
    snapshot = env.snapshot()
    env.restore(snapshot, "fresh", seed=3)
    env.step("wait")
    middle = env.snapshot()
    first = env.step("draw")[0]
    after = env.snapshot()
    second = env.step("draw")[0]
    random.random()
    np.random.random()
    env.restore(middle)
    assert env.step("draw")[0] == first
    env.rollback(2)
    assert env.step("draw")[0] == first
    env.restore(after)
    assert env.step("draw")[0] == second


def test_the_programs_own_numbers_go_on() -> None:
    random.seed(4)
    np.random.seed(4)
    expected = [(random.random(), np.random.random()) for _ in range(10)]
    env = late(fresh(RandInt), "native")
    random.seed(4)
    np.random.seed(4)
    seen = []
    for action in ("wait", "draw", "draw", "wait", "draw") * 2:
        env.step(action)
        seen.append((random.random(), np.random.random()))
    assert seen == expected


def test_a_program_that_draws_between_steps_is_not_blamed() -> None:
    from leafe_gym.wrappers.rollback.random_state import undeclared

    class Quiet(Late):
        def draw(self) -> str:
            return "none"

    env = late(Quiet, "native")
    for _ in range(50):
        random.random()
        np.random.random()
        random.gauss(0, 1)
        np.random.randn()
        env.step("draw")
        env.reset(seed=1)
    assert not undeclared(env)


def test_several_environments_in_turn() -> None:
    cls = fresh(RandInt)
    envs = [late(cls, "native", 100) for _ in range(4)]
    snapshots = [env.snapshot() for env in envs]
    seen: list[list[str]] = [[] for _ in envs]
    for _ in range(5):
        for env, texts in zip(envs, seen, strict=True):
            texts.append(env.step("draw")[0])
    for env, snapshot, texts in zip(
        reversed(envs), reversed(snapshots), reversed(seen), strict=True
    ):
        env.restore(snapshot)
        assert [env.step("draw")[0] for _ in range(5)] == texts


def test_threads() -> None:
    cls = fresh(RandInt)
    envs = [late(cls, "native", 100) for _ in range(4)]

    def play(env: lg.RollbackWrapper) -> bool:
        snapshot = env.snapshot()
        first = [env.step("draw")[0] for _ in range(20)]
        env.restore(snapshot)
        return [env.step("draw")[0] for _ in range(20)] == first

    # The first use is noticed in one thread: draws of two threads cannot be told apart.
    assert play(envs[0])
    for env in envs:
        env.reset(seed=1)
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(play, envs))


@pytest.mark.parametrize("draws", [1, 2, 623, 624, 625, 1248])
def test_the_probe_sees_every_number_of_draws(draws: int) -> None:
    from leafe_gym.wrappers.rollback.random_probe import Probe
    from leafe_gym.wrappers.rollback.random_state import _LOCK

    for draw in (
        lambda: [random.getrandbits(32) for _ in range(draws)],
        lambda: np.random.randint(0, 2**32, draws, dtype=np.uint32),
        lambda: [random.gauss(0, 1) for _ in range(draws)],
        lambda: np.random.randn(draws),
    ):
        for gauss in (False, True):
            if gauss:
                random.gauss(0, 1)
                np.random.randn()
            probe = Probe.shared(_LOCK)
            probe.refresh()
            assert not probe.moved()
            draw()
            assert probe.moved()


def test_the_slow_probe_sees_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from leafe_gym.wrappers.rollback import random_probe

    for name in ("_FAST_RANDOM", "_FAST_NUMPY", "_FAST_GAUSS"):
        monkeypatch.setattr(random_probe, name, False)
    monkeypatch.setattr(random_probe.Probe, "_shared", None)
    test_the_probe_sees_every_number_of_draws(625)
    monkeypatch.setattr(random_probe.Probe, "_shared", None)
    test_the_same_action_draws_the_same(NumPyGauss, "native")
    monkeypatch.setattr(random_probe.Probe, "_shared", None)
