"""An attempt's side of the environment: making one, bringing it to where the attempt starts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isfinite
from typing import Any

from leafe_gym.agents.context import Context
from leafe_gym.agents.frontier import Job
from leafe_gym.agents.shelf import Shelf
from leafe_gym.errors import (
    BackendError,
    EnvironmentFailure,
    RestoreMismatch,
    SandboxUnavailable,
)
from leafe_gym.types import INFO_KEYS, Json, Start, Step, Task
from leafe_gym.wrappers.rollback.episode_log import EpisodeStart, Transition
from leafe_gym.wrappers.rollback.wrapper import RollbackWrapper

logger = logging.getLogger(__name__)
MakeEnv = Callable[[], RollbackWrapper]


class Lanes:
    """The environment instances of one task: one for each attempt that runs at the same time."""

    def __init__(self, make: MakeEnv, first: RollbackWrapper | None = None) -> None:
        self._make = make
        self._idle = [first] if first is not None else []
        self._kept = first

    def take(self) -> RollbackWrapper:
        """An idle instance, or a new one."""
        return self._idle.pop() if self._idle else self._make()

    def give(self, env: RollbackWrapper) -> None:
        """Hand an instance back for the next attempt."""
        self._idle.append(env)

    def drop(self, env: RollbackWrapper) -> None:
        """Close an instance that can no longer be trusted."""
        if env is self._kept:
            self._idle.append(env)  # not ours to close; the next attempt begins with a reset
        else:
            _close(env)

    def close(self) -> None:
        """Close all idle instances but the one that was handed in from outside."""
        for env in self._idle:
            if env is not self._kept:
                _close(env)
        self._idle.clear()


def _close(env: RollbackWrapper) -> None:
    try:
        env.close()
    except Exception as error:  # noqa: BLE001 - a stranger's close may raise anything
        logger.warning("closing %s: %s: %s", env, type(error).__name__, error)


@contextmanager
def environment_calls(what: str) -> Iterator[None]:
    """Whatever a stranger's environment raises becomes an `EnvironmentFailure`.

    But a sandbox that this host cannot have (its engine is gone): that is no attempt's fault and
    would end all others, too, so it ends the run, which the same command takes up again.
    """
    try:
        yield
    except (EnvironmentFailure, BackendError, SandboxUnavailable):
        raise
    except Exception as error:
        raise EnvironmentFailure(f"{what}: {type(error).__name__}: {error}") from error


def begin(env: RollbackWrapper, task: Task) -> Start:
    """Reset `env` for `task`.

    Raises:
        EnvironmentFailure: if it raises, or its observation is not text.
    """
    with environment_calls(f"reset of {task.env_id}"):
        observation, info = env.reset(seed=task.seed)
        instruction = str(info.get("instruction", task.instruction))
        kept = keep_info(info)
    return Start(observation=as_text(observation), instruction=instruction, info=kept)


def place(ctx: Context, shelf: Shelf, env: RollbackWrapper, job: Job) -> None:
    """Bring `env` to where `job` starts: a reset, a restore, or a verified replay.

    Raises:
        EnvironmentFailure: if the environment raises.
        BackendError: if the state that comes back is not the one that was left.
    """
    tree = ctx.tree
    if job.parent is None or job.restart or job.experience is None:
        start = begin(env, tree.task)
        if start.observation != tree.start.observation:
            raise RestoreMismatch(
                f"{tree.task.env_id} ignores its seed: two resets with seed {tree.task.seed} "
                "differ; no attempt can be compared with another",
                step=None,
            )
        return
    tau = job.experience.step
    moves = [transition(step) for step in ctx.prefix(job) if step.action is not None]
    held = shelf.nearest(tree, job.parent, tau)
    if held is not None and (held[1].scope != "instance" or held[0] is env):
        env.restore(held[1])
        if held[1].step == tau:
            return
        env.replay(moves[held[1].step :])
    else:
        env.replay(moves, EpisodeStart(tree.task.seed, tree.start.observation))
    shelf.keep(tree.home(job.parent, tau), env)


def transition(step: Step) -> Transition:
    """A step as the wrapper's verified replay compares it."""
    return Transition(
        action=step.action,
        observation=step.observation,
        reward=step.reward,
        terminated=step.terminated,
        truncated=step.truncated,
    )


def as_text(observation: Any) -> str:
    """The observation, if it is text.

    Raises:
        EnvironmentFailure: if it is not.
    """
    if isinstance(observation, str):
        return observation
    raise EnvironmentFailure(
        f"the environment's observation is {type(observation).__name__}, not text; "
        "wrap it in gymnasium.wrappers.TransformObservation to make it text"
    )


def keep_info(info: dict[str, Any]) -> dict[str, Json]:
    """The part of `info` that trees keep, as plain JSON values.

    Raises:
        TypeError: if a value is not what its key promises.
        ValueError: likewise; a score must be finite, JSON has no other numbers.
    """
    kept: dict[str, Json] = {}
    for key in INFO_KEYS:
        value = info.get(key)
        if value is None:
            continue
        if key == "won":
            kept[key] = bool(value)
        elif key == "score":
            kept[key] = float(value)
            if not isfinite(kept[key]):
                raise ValueError(f"info['score'] is {value}; it must be finite")
        elif key == "feedback":
            kept[key] = str(value)
        else:
            kept[key] = [str(command) for command in value]
    return kept
