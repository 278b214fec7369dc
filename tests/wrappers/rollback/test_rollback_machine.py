"""Any order of step, snapshot, restore, rollback, fork and release, against a fresh environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from rollback_model import SOKOBAN, build_shared, build_sokoban, build_toy, machine
from toy_envs import ACTIONS

CASES = [
    (build_toy, "native", ACTIONS),
    (build_toy, "pickle", ACTIONS),
    (build_toy, "deepcopy", ACTIONS),
    (build_toy, "replay", ACTIONS),
    (build_shared, "auto", ACTIONS),
    (build_sokoban, "native", SOKOBAN),
    (build_sokoban, "pickle", SOKOBAN),
]


@pytest.mark.parametrize(("build", "backend", "actions"), CASES)
def test_any_order(
    build: Callable[[], gym.Env[Any, Any]],
    backend: str,
    actions: tuple[str, ...],
    counts: Callable[[int, int], int],
) -> None:
    run_state_machine_as_test(
        machine(build, backend, actions),
        settings=settings(max_examples=counts(40, 200), stateful_step_count=30),
    )
