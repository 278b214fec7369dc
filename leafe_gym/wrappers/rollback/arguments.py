"""Checks of the arguments of `RollbackWrapper`; each raises `UsageError` and names the value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from leafe_gym.errors import UsageError
from leafe_gym.types import Snapshot
from leafe_gym.wrappers.backends.base import BACKENDS, Backend
from leafe_gym.wrappers.rollback.episode_log import EpisodeStart, SnapshotRecord, Transition
from leafe_gym.wrappers.rollback.values import show


def check_constructor(env: Any, backend: Any, won: Any, factory: Any, probe_actions: Any) -> None:
    """The arguments of `RollbackWrapper`."""
    if not isinstance(env, gym.Env):
        raise UsageError(f"RollbackWrapper needs a gymnasium.Env, not {show(env)}")
    if isinstance(backend, str):
        if backend != "auto" and backend not in BACKENDS:
            raise UsageError(f"{BACKENDS.unknown(backend)} (or 'auto')")
    elif isinstance(backend, type) or not isinstance(backend, Backend):
        raise UsageError(f"backend must be 'auto', a name or a Backend object, not {show(backend)}")
    for name, value in (("won", won), ("factory", factory)):
        if value is not None and not callable(value):
            raise UsageError(f"{name} must be a function or None, not {show(value)}")
    if probe_actions is not None and (
        isinstance(probe_actions, str | bytes) or not isinstance(probe_actions, Iterable)
    ):
        raise UsageError(f"probe_actions must be a list of actions, not {show(probe_actions)}")


def refuse_nesting(env: gym.Env[Any, Any], kind: type) -> None:
    """Raise where `env` has a wrapper of the class `kind` already."""
    link: Any = env
    while isinstance(link, gym.Wrapper):
        if isinstance(link, kind):
            raise UsageError(
                "this environment has a RollbackWrapper already; use that one, or pass its `.env`"
            )
        link = link.env


def seed(value: Any, name: str = "seed") -> int | None:
    """A seed as an int, or None."""
    if value is None:
        return None
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer) or value < 0:
        raise UsageError(f"{name} must be None or an integer >= 0, not {show(value)}")
    return int(value)


def options(value: Any) -> dict[str, Any] | None:
    """Options of a reset, or None."""
    if value is not None and not isinstance(value, Mapping):
        raise UsageError(f"options must be None or a dict, not {show(value)}")
    return value  # type: ignore[return-value]


def action_count(value: Any, taken: int) -> int:
    """How many actions a rollback leaves."""
    integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not integer or not 0 <= value <= taken:
        raise UsageError(
            f"rollback(to={show(value)}): {taken} actions were taken, so `to` must be an integer "
            f"from 0 to {taken}"
        )
    return int(value)


def record(snapshot: Any, method: str) -> SnapshotRecord:
    """What a snapshot of a RollbackWrapper holds."""
    held = snapshot.payload if isinstance(snapshot, Snapshot) else None
    if not isinstance(held, SnapshotRecord):
        raise UsageError(
            f"{method}() takes a snapshot made by a RollbackWrapper, not {show(snapshot)}"
        )
    return held


def transitions(value: Any, start: Any) -> list[Transition]:
    """Recorded actions to replay, and the reset to begin with."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise UsageError(f"replay() takes a list of Transitions, not {show(value)}")
    moves = list(value)
    for move in moves:
        if not isinstance(move, Transition):
            raise UsageError(f"replay() takes Transitions, not {show(move)}")
    if start is not None and not isinstance(start, EpisodeStart):
        raise UsageError(f"from_reset must be None or an EpisodeStart, not {show(start)}")
    if start is not None:
        seed(start.seed, "the seed of from_reset")
        options(start.options)
    return moves
