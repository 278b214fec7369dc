"""One call that fails if an environment cannot be restored to earlier states."""

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
    """Fail unless `check_rollback` finds a backend that restores an environment correctly.

    Example:
        >>> assert_rollback("FrozenLake-v1", seeds=[0], other_process=False).ok
        True

    Args:
        env: an id, a spec, an instance made by `gymnasium.make`, or a function that makes one.
        backends: names of those that must be correct; None: at least one has to be.
        actions: some that change the observation; None to look for some.
        seeds: resets to try, at least one.
        options: of the resets.
        make_kwargs: keyword arguments of `gymnasium.make`, where `env` is an id or a spec.
        other_process: also play in a fresh interpreter, as a run that is resumed will.
        proved: fail as well if no action was found that changes the observation.

    Returns:
        the report, for further assertions.

    Raises:
        AssertionError: with the whole report.
        UsageError: if no further instance can be made, or `seeds` is empty.
        WrapperOrder: if a RollbackWrapper sits below another wrapper.
    """
    __tracebackhide__ = True
    report = check_rollback(
        env,
        backends=backends,
        actions=actions,
        seeds=seeds,
        options=options,
        make_kwargs=make_kwargs,
        other_process=other_process,
    )
    if report.failures:
        raise AssertionError(str(report))
    if proved and report.unproved:
        raise AssertionError(f"{report}, or accept that with proved=False")
    return report
