"""Environments that draw from `random` and `numpy.random` do not disturb each other or anybody."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import pytest
import toy_envs as toys
from toy_envs import make

from leafe_gym.wrappers import RollbackWrapper
from leafe_gym.wrappers.rollback.random_state import (
    EnvGlobalRandom,
    equal_globals,
    save_globals,
    undeclared,
)

PATH = ("draw", "double", "draw", "draw")
PROBE = ["draw", "add", "double"]


class Undeclared(toys.GlobalRandom):
    """Seen to draw in its first steps."""


class AtReset(toys.Counter):
    """Draws its start only."""

    def reset(self, **kwargs: Any) -> Any:
        _, info = super().reset(**kwargs)
        self.value = random.randrange(1000) + int(np.random.randint(1000))
        return self.text(), info


class Late(toys.GlobalRandom):
    """Draws only after many steps, so that only a proof sees it in time."""


class Mixed(toys.DeclaredGlobal):
    """Has native snapshots as well."""

    def get_state(self) -> Any:
        return self.value, tuple(self.trail)

    def set_state(self, state: Any) -> None:
        self.value, self.trail = state[0], list(state[1])


KINDS = (Undeclared, toys.DeclaredGlobal, AtReset, Mixed)


def alone(cls: Any, seed: int) -> list[Any]:
    """An episode with nobody else around."""
    env = RollbackWrapper(make(cls), probe_actions=PROBE)
    start = env.reset(seed=seed)[0]
    return [start, *(env.step(action)[0] for action in PATH * 2)]


@cache
def eight_alone(cls: Any) -> list[list[Any]]:
    """Episodes of eight seeds, for every backend that is compared with them."""
    return [alone(cls, seed) for seed in range(8)]


@pytest.mark.parametrize("cls", KINDS)
@pytest.mark.parametrize("backend", ["auto", "pickle", "deepcopy", "replay"])
def test_eight_interleaved(cls: Any, backend: str) -> None:
    expected = eight_alone(cls)
    random.seed(7)
    np.random.seed(7)
    before = save_globals()
    envs = [RollbackWrapper(make(cls), backend, probe_actions=PROBE) for _ in range(8)]
    seen = [[env.reset(seed=seed)[0]] for seed, env in enumerate(envs)]
    marks: list[Any] = []
    for number, action in enumerate(PATH * 2):
        if number == 3:
            marks = [env.snapshot() for env in envs]
        for env, texts in zip(envs, seen, strict=True):
            texts.append(env.step(action)[0])
    assert seen == expected
    for env, mark in zip(reversed(envs), reversed(marks), strict=True):
        env.restore(mark)
    rest = [[env.step(action)[0]] for action in PATH[3:4] for env in envs]
    for action in (PATH * 2)[4:]:
        for env, texts in zip(envs, rest, strict=True):
            texts.append(env.step(action)[0])
    assert rest == [one[4:] for one in expected]
    assert equal_globals(before, save_globals())


def test_threads() -> None:
    expected = [alone(toys.DeclaredGlobal, seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert list(pool.map(alone, [toys.DeclaredGlobal] * 8, range(8))) == expected


def test_undeclared_use_is_reported() -> None:
    env = RollbackWrapper(make(Undeclared), probe_actions=PROBE)
    env.reset(seed=0)
    env.snapshot()
    assert "declare metadata" in env.backend_report.note
    assert undeclared(make(Undeclared))
    declared = RollbackWrapper(make(toys.DeclaredGlobal), probe_actions=PROBE)
    declared.reset(seed=0)
    declared.snapshot()
    assert declared.backend_report.note == ""


def test_use_that_is_found_late() -> None:
    env = RollbackWrapper(make(Late), "pickle", probe_actions=["add", "double"])
    env.reset(seed=0)
    for _ in range(24):
        env.step("wait")
    mark = env.snapshot()
    first = [env.step("draw")[0] for _ in range(3)]
    env.restore(mark)
    random.random()
    assert [env.step("draw")[0] for _ in range(3)] == first
    other = RollbackWrapper(make(Late), "replay")
    other.restore(mark)
    assert [other.step("draw")[0] for _ in range(3)] == first


def test_environments_that_do_not_draw_are_left_alone() -> None:
    env = toys.Native()
    own = EnvGlobalRandom(env)
    for _ in range(40):
        if own.active:
            with own.around(env, watch=True):
                env.reset(seed=0)
    assert not own.active
    assert not own.used
    before = save_globals()
    with pytest.raises(ValueError, match="invalid"), own.around(env):
        random.seed(int("x" if random.random() else "y"))
    assert equal_globals(before, save_globals())
    assert not EnvGlobalRandom(toys.Native()).active
    assert EnvGlobalRandom(env, watch="always").active
    assert not undeclared(env)
