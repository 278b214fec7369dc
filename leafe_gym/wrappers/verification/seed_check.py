"""Checks that the same seed and the same actions give the same episode."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from leafe_gym.wrappers.backends.fork import face_of
from leafe_gym.wrappers.backends.fork_client import ForkServer, ForkTimeouts
from leafe_gym.wrappers.rollback.controller import RollbackController
from leafe_gym.wrappers.rollback.random_state import globals_kept, uses_globals
from leafe_gym.wrappers.rollback.remote import RemoteEnv
from leafe_gym.wrappers.rollback.values import difference, private_copy, same, show
from leafe_gym.wrappers.verification.action_script import ActionScript
from leafe_gym.wrappers.verification.instance_factory import InstanceFactory, close_quietly, quietly
from leafe_gym.wrappers.verification.verify import FIELDS, TrialOutcome, run_actions

Make = Callable[[], gym.Env[Any, Any]]

_GLOBAL_HINT = (
    "; it draws from the global generators: use self.np_random, or declare "
    'metadata = {"global_rng": True}'
)


@dataclass(frozen=True, slots=True)
class SeedFinding:
    """Result of playing the same episode several times.

    Attributes:
        honoured: all runs agree.
        reason: where they do not; "" otherwise.
        step: number of the first action whose outcome differs; None for the reset.
        won_in_info: whether the environment's own info had `won`.
    """

    honoured: bool
    reason: str = ""
    step: int | None = None
    won_in_info: bool = False


def check_seed(make: Make, script: ActionScript) -> SeedFinding:
    """Play `script` twice in one instance and once in another, and compare."""
    with quietly():
        finding = _compare(make, script, reseed=False)
        if not finding.honoured and _compare(make, script, reseed=True).honoured:
            return SeedFinding(
                False, finding.reason + _GLOBAL_HINT, finding.step, finding.won_in_info
            )
        return finding


def check_elsewhere(second: InstanceFactory, script: ActionScript) -> SeedFinding:
    """Play `script` here and in a fresh interpreter with other hashes of text, and compare.

    Raises:
        BackendError: if the environment cannot be built there.
    """
    with quietly(), globals_kept():
        here = second.make()
        try:
            first = _play(RollbackController(here, watch="never"), script, reseed=True)
            # The order of a set of strings depends on this number, in every process another.
            salt = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
            host = ForkServer(second.recipe(), uses_globals(here), ForkTimeouts(), salt)
            try:
                there = RemoteEnv(host.keeper, face_of(here), lambda: host.keeper)
                again = _play(RollbackController(there, watch="never"), script, reseed=False)
            finally:
                host.stop()
        finally:
            close_quietly(here)
    found = _first_difference(first, again, script)
    if found is None:
        return SeedFinding(True)
    return SeedFinding(False, f"reset(seed={script.seed}) in another process: {found[0]}", found[1])


def _compare(make: Make, script: ActionScript, *, reseed: bool) -> SeedFinding:
    controllers = [
        RollbackController(make(), watch="never"),
        RollbackController(make(), watch="never"),
    ]
    with globals_kept():
        try:
            first = _play(controllers[0], script, reseed=reseed)
            for what, controller in (
                ("the same instance", controllers[0]),
                ("a new instance", controllers[1]),
            ):
                again = _play(controller, script, reseed=reseed)
                found = _first_difference(first, again, script)
                if found is not None:
                    where, step = found
                    reason = f"reset(seed={script.seed}) in {what}: {where}"
                    return SeedFinding(False, reason, step, controllers[0].won_in_info)
            return SeedFinding(True, won_in_info=controllers[0].won_in_info)
        finally:
            for controller in controllers:
                close_quietly(controller.env)


def _play(
    controller: RollbackController, script: ActionScript, *, reseed: bool
) -> list[TrialOutcome]:
    if reseed:
        random.seed(script.seed)
        np.random.seed(script.seed % 2**32)
    observation, info = controller.reset(script.seed, script.options)
    subset = {"instruction": info.get("instruction")}
    start = (private_copy(observation), 0.0, False, False, subset, None)
    return [start, *run_actions(controller, (*script.prefix, *script.first))]


def _first_difference(
    first: list[TrialOutcome], again: list[TrialOutcome], script: ActionScript
) -> tuple[str, int | None] | None:
    actions = (*script.prefix, *script.first)
    for index, (left, right) in enumerate(zip(first, again, strict=False)):
        for name, one, other in zip(FIELDS, left, right, strict=True):
            if not same(one, other):
                step = None if index == 0 else min(index, len(actions)) - 1
                where = "the start" if step is None else f"step {step}, {show(actions[step])}"
                return f"{where}: {name} {difference(one, other)}", step
    return None
