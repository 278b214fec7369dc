"""Snapshots take as much memory as they say, and give it back."""

from __future__ import annotations

import pickle
import threading
import tracemalloc
from typing import Any

import gymnasium as gym
import pytest
from toy_envs import ACTIONS, Counter, Native, make, register

from leafe_gym.errors import SnapshotReleased
from leafe_gym.wrappers import RollbackWrapper
from leafe_gym.wrappers.rollback.snapshot_size import SnapshotSizer, measure

BACKENDS = ("native", "pickle", "deepcopy", "replay")


class Hoard(Native):
    """Grows by some kilobytes with every action."""

    def reset(self, **kwargs: Any) -> Any:
        self.hoard: list[bytearray] = []
        return super().reset(**kwargs)

    def step(self, action: str) -> Any:
        self.hoard.append(bytearray(range(256)) * (8 + len(self.hoard)))
        return super().step(action)

    def get_state(self) -> Any:
        return super().get_state(), tuple(map(bytes, self.hoard))

    def set_state(self, state: Any) -> None:
        super().set_state(state[0])
        self.hoard = list(map(bytearray, state[1]))


def started(backend: str, cls: Any = Native) -> RollbackWrapper:
    env = RollbackWrapper(
        gym.make(register(cls), max_episode_steps=10**6, disable_env_checker=True), backend
    )
    env.reset(seed=3)
    return env


@pytest.mark.parametrize("backend", BACKENDS)
def test_evicted_snapshots_come_back_from_the_nearest_one(backend: str) -> None:
    env = started(backend)
    marks, texts = [], []
    for number in range(12):
        env.step(ACTIONS[number % 3])
        marks.append(env.snapshot())
        texts.append(env.transitions[-1].observation)
    following = [env.step(action)[:4] for action in ACTIONS]
    for mark in marks[:3] + marks[4:]:
        env.discard_data(mark)
        env.discard_data(mark)
    before = env.replayed_steps
    for number in (11, 7, 4, 3, 2, 0, 11):
        assert env.restore(marks[number])[0] == texts[number]
        assert env.steps == number + 1
        done = env.replayed_steps - before
        before = env.replayed_steps
        held = 4 if number >= 3 and backend != "replay" else 0
        assert done == number + 1 - held
    assert [env.step(action)[:4] for action in ACTIONS] == following
    env.release(marks[11])
    with pytest.raises(SnapshotReleased):
        env.restore(marks[11])


def test_other_paths_are_no_way_there() -> None:
    env = started("native")
    env.step("add")
    fork = env.snapshot()
    env.step("draw")
    env.step("add")
    mine = env.snapshot()
    expected = env.step("draw")
    env.restore(fork)
    env.step("double")
    env.step("double")
    other = env.snapshot()
    env.discard_data(mine)
    env.discard_data(fork)
    env.restore(mine)
    assert env.replayed_steps == 3
    assert env.step("draw") == expected
    assert env.restore(other)[0] != expected[0]


def test_fresh_luck_is_met_again() -> None:
    env = started("native")
    env.step("add")
    mark = env.snapshot()
    env.restore(mark, rng="fresh", seed=1)
    one = env.snapshot()
    first = env.step("draw")
    later = env.snapshot()
    second = env.step("draw")
    env.restore(mark, rng="fresh", seed=2)
    two = env.snapshot()
    env.discard_data(later)
    env.restore(later)
    assert env.step("draw") == second
    env.discard_data(one)
    env.restore(one)
    assert env.step("draw") == first
    assert env.restore(two)[0] == env.restore(mark)[0]


def test_evicted_snapshots_travel() -> None:
    env = started("native")
    for action in ACTIONS:
        env.step(action)
    mark = env.snapshot()
    expected = env.step("draw")
    env.discard_data(mark)
    other = started("native")
    other.restore(pickle.loads(pickle.dumps(mark)))
    assert other.replayed_steps == 4
    assert other.step("draw") == expected


@pytest.mark.parametrize("backend", ["native", "pickle", "deepcopy"])
def test_evicting_frees_memory(backend: str) -> None:
    env = started(backend, Hoard)
    tracemalloc.start()
    marks = []
    for _ in range(30):
        env.step("add")
        marks.append(env.snapshot())
    full = tracemalloc.get_traced_memory()[0]
    claimed = sum(mark.nbytes for mark in marks)
    for mark in marks:
        env.discard_data(mark)
    freed = full - tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert freed > claimed / 2
    assert env.restore(marks[4])[0] == env.rollback(5)[0]


@pytest.mark.parametrize("backend", ["native", "pickle", "deepcopy"])
def test_sizes_of_growing_states(backend: str) -> None:
    env = started(backend, Hoard)
    for number in range(60):
        if number % 7 == 3:
            env.rollback(number // 2)
        env.step("add")
        mark = env.snapshot()
        real = len(pickle.dumps(mark.payload.data[0]))
        assert real / 2 < mark.nbytes < real * 2


def test_measuring() -> None:
    sizer = SnapshotSizer()
    assert sizer.size(b"x" * 1000, 0) > 1000
    assert sizer.size(b"", 0) > 1000
    assert sizer.size(b"", 50) < 100
    assert measure([threading.Lock(), b"x" * 1000, Counter]) > 1000
    assert started("replay").snapshot().nbytes == 0
    env = RollbackWrapper(make(Native), "native")
    env.reset(seed=0)
    assert 100 < env.snapshot().nbytes < 10_000
