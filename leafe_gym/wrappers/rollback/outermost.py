"""A RollbackWrapper must be the outermost wrapper."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from leafe_gym.errors import UsageError, WrapperOrder
from leafe_gym.wrappers.rollback.wrapper import RollbackWrapper


def require_outermost(env: gym.Env[Any, Any]) -> RollbackWrapper:
    """`env` itself, if it is a RollbackWrapper.

    A wrapper outside keeps its own state (`TimeLimit` its count) through a restore, so episodes
    would change without an error.

    Raises:
        WrapperOrder: if a RollbackWrapper sits below other wrappers; names the outermost of them.
        UsageError: if there is none at all.
    """
    if isinstance(env, RollbackWrapper):
        return env
    outer: list[str] = []
    link = env
    while isinstance(link, gym.Wrapper):
        if isinstance(link, RollbackWrapper):
            raise WrapperOrder(
                f"{' and '.join(outer)} outside RollbackWrapper would not be restored "
                "with it; make RollbackWrapper the outermost: "
                f"RollbackWrapper({'('.join(outer)}(env{')' * len(outer)})"
            )
        outer.append(type(link).__name__)
        link = link.env
    raise UsageError(
        f"{env} cannot be restored to earlier states; wrap it: RollbackWrapper(env), outermost"
    )
