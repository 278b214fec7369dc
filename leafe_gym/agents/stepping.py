"""Calls into an environment as agents need them: plain functions that run in its own thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from math import isfinite
from typing import Any

from leafe_gym.errors import (
    BackendError,
    EnvironmentFailure,
    RestoreMismatch,
    SandboxUnavailable,
    UsageError,
)
from leafe_gym.types import INFO_KEYS, Json, Snapshot, Start, Step, Task
from leafe_gym.wrappers.rollback.episode_log import EpisodeStart, Transition
from leafe_gym.wrappers.rollback.wrapper import RollbackWrapper

MakeEnv = Callable[[], RollbackWrapper]


@contextmanager
def environment_calls(what: str) -> Iterator[None]:
    """Turn whatever an environment raises into an `EnvironmentFailure`.

    `SandboxUnavailable` passes through: it would end all other attempts too, so it ends the run,
    which can be resumed.
    """
    try:
        yield
    except (EnvironmentFailure, BackendError, SandboxUnavailable, KeyboardInterrupt):
        raise
    except BaseException as error:
        said = f": {error}" if str(error) else ""
        if "main thread" in said:
            said += (
                " (environments run in threads of their own; one with metadata = "
                "{'inline_steps': True} runs where explore() was called)"
            )
        raise EnvironmentFailure(f"{what}: {type(error).__name__}{said}") from error


def build(make: MakeEnv) -> RollbackWrapper:
    """A new environment.

    Raises:
        EnvironmentFailure: if its constructor raises.
        UsageError: if it was given arguments that it refuses.
    """
    try:
        return make()
    except UsageError:
        raise
    except BaseException:
        with environment_calls("making the environment"):
            raise


def reset_for(env: RollbackWrapper, task: Task) -> Start:
    """Reset `env` for `task`.

    Raises:
        EnvironmentFailure: if it raises, or its observation is not text.
    """
    with environment_calls(f"reset of {task.env_id}"):
        observation, info = env.reset(seed=task.seed)
        instruction = str(info.get("instruction", task.instruction))
        kept = kept_info(info)
    return Start(observation=as_text(observation), instruction=instruction, info=kept)


def restart(env: RollbackWrapper, task: Task, start: Start, *, snapshot: bool) -> Snapshot | None:
    """Reset `env` to the state that every attempt from step 0 begins in.

    Raises:
        EnvironmentFailure: if the environment raises.
        RestoreMismatch: if it begins differently from `start`.
    """
    if reset_for(env, task).observation != start.observation:
        raise RestoreMismatch(
            f"{task.env_id} ignores its seed: two resets with seed {task.seed} differ; attempts "
            "cannot be compared with each other",
            step=None,
        )
    return env.snapshot() if snapshot else None


def restore_to(
    env: RollbackWrapper, task: Task, start: Start, prefix: Sequence[Step], held: Snapshot | None
) -> Snapshot:
    """Bring `env` to the state after `prefix`, from a snapshot on the way or from a reset.

    Raises:
        EnvironmentFailure: if the environment raises.
        BackendError: if the state that is reached is not the recorded one.
    """
    moves = [transition(step) for step in prefix if step.action is not None]
    with environment_calls(f"restoring {task.env_id} to action {len(moves)}"):
        done: int | None = None
        if held is not None:
            with suppress(UsageError):  # of an instance that is not built alike: replay instead
                env.restore(held)
                done = held.step
        if done is None:
            env.replay(moves, EpisodeStart(task.seed, start.observation))
        elif done < len(moves):
            env.replay(moves[done:])
        return env.snapshot()


def environment_step(
    env: RollbackWrapper, action: str, keep: bool
) -> tuple[dict[str, Any], Snapshot | None]:
    """One step: its outcome as fields of a `Step`, and a snapshot of the new state if asked for.

    Raises:
        EnvironmentFailure: if the environment raises, or its observation is not text.
        BackendError: if the snapshot cannot be taken.
    """
    with environment_calls(f"step {env.steps} with {action!r}"):
        observation, reward, terminated, truncated, info = env.step(action)
        kept = kept_info(info)
    outcome = {
        "observation": as_text(observation),
        "reward": float(reward),
        "terminated": bool(terminated),
        "truncated": bool(truncated),
        "info": kept,
    }
    over = terminated or truncated
    return outcome, env.snapshot() if keep and not over else None


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


def kept_info(info: dict[str, Any]) -> dict[str, Json]:
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
            commands = [str(command) for command in value]
            # A set has no order of its own: it would depend on the process.
            unordered = isinstance(value, set | frozenset)
            kept[key] = sorted(commands) if unordered else commands
    return kept
