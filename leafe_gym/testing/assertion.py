"""One call that fails if an environment cannot be rolled back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from leafe_gym.wrappers.verification.check import CheckReport, check_rollback

AnyEnv = gym.Env[Any, Any]


def assert_rollback(
    env: str | EnvSpec | AnyEnv | Callable[[], AnyEnv],
    *,
    backends: Sequence[str] | None = None,
    actions: Sequence[Any] | None = None,
    seeds: Sequence[int] = (0, 1),
    options: dict[str, Any] | None = None,
    make_kwargs: Mapping[str, Any] | None = None,
    other_process: bool = True,
    proved: bool = True,
) -> CheckReport:
    """Fail unless `check_rollback` finds a correct backend for an environment.

    Example:
        >>> assert_rollback("FrozenLake-v1", seeds=[0], other_process=False).ok
        True

    Args:
        env: an id, a spec, an instance made by `gymnasium.make`, or a function that makes one.
        backends: backends that must be correct; None: at least one must be.
        actions: actions that change the observation; None to search for some.
        seeds: seeds of the resets, at least one.
        options: options of the resets.
        make_kwargs: keyword arguments of `gymnasium.make`, if `env` is an id or a spec.
        other_process: also check in a new interpreter, as needed to resume a run.
        proved: also fail if no action was found that changes the observation.

    Returns:
        The report, for further assertions.

    Raises:
        AssertionError: with the whole report.
        UsageError: if no further instance can be made, or `seeds` is empty.
        WrapperOrder: if a RollbackWrapper sits below another wrapper.
    """
    __tracebackhide__ = True  # pytest shows the caller's line
    report = check_rollback(
        env,
        backends=backends,
        actions=actions,
        seeds=seeds,
        options=options,
        make_kwargs=make_kwargs,
        other_process=other_process,
    )
    if not report.ok:
        raise AssertionError(str(report))
    if proved and report.unproved:
        raise AssertionError(
            f"{report}\nnothing was verified: pass actions= that change the observation, or "
            "proved=False"
        )
    return report
