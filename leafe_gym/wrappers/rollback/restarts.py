"""Checks of a reset before a saved state is loaded into the instance that was reset."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from leafe_gym.errors import BackendError, RestoreMismatch, SnapshotUnsupported
from leafe_gym.wrappers.backends.base import Backend
from leafe_gym.wrappers.backends.replay import other_start
from leafe_gym.wrappers.rollback.episode_log import EpisodeLog, EpisodeView
from leafe_gym.wrappers.rollback.values import same

AnyEnv = gym.Env[Any, Any]


def same_reset(left: EpisodeLog | None, right: EpisodeLog) -> bool:
    """Whether two logs begin with the same reset, or with equal seeds and options."""
    if left is None:
        return False
    if left.random is right.random:  # shared by all logs that begin with one reset
        return True
    return left.seed == right.seed and same(left.options, right.options)


def shows_or_records(env: AnyEnv) -> bool:
    """Whether a chain has a window or records videos, which belong to the user's instance."""
    link: Any = env
    while isinstance(link, gym.Wrapper):
        if hasattr(link, "video_folder"):
            return True
        link = link.env
    return env.render_mode == "human"


def generator_of(env: AnyEnv) -> Any:
    """State of the bare environment's random generator; None where it has none."""
    generator = getattr(env.unwrapped, "_np_random", None)
    return None if generator is None else generator.bit_generator.state


def check_start(env: AnyEnv, log: EpisodeLog, observation: Any) -> None:
    """Compare a new instance after its reset with the instance that `log` was recorded in.

    Raises:
        RestoreMismatch: if the observation or the state of the generator differs.
    """
    if not same(log.observation, observation):
        raise other_start(log.seed, log.observation, observation)
    if log.generator is not None and not same(log.generator, generator_of(env)):
        raise RestoreMismatch(
            f"after reset(seed={log.seed}) a new instance has another state of its random "
            "generator than the recorded one, so it is not the same environment; pass factory=, "
            "a function that builds the same one each time",
            step=None,
        )


def not_trusted(view: EpisodeView, problem: str) -> SnapshotUnsupported:
    """The error for an instance that can be neither replaced nor checked by a replay."""
    return SnapshotUnsupported(
        f"a call into this environment failed, so step {view.length} cannot be loaded into it; no "
        f"other instance like it can be made (pass factory=), and it cannot be replayed: {problem}"
    )


def backend_failed(
    backend: Backend, verb: str, view: EpisodeView, error: Exception
) -> BackendError:
    """Says that the backend failed, not a step of the environment."""
    return BackendError(
        f"backend {backend.name!r} failed to {verb} step {view.length}: "
        f"{type(error).__name__}: {error}; try another backend (see check_rollback)"
    )
