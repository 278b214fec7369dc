"""Whether the RollbackWrapper is where it has to be: outermost.

A wrapper outside keeps its own state (`TimeLimit` its count) through a restore, so episodes would
come out otherwise without anybody noticing.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from leafe_gym.errors import UsageError, WrapperOrder
from leafe_gym.wrappers.rollback import RollbackWrapper


def require_outermost(env: gym.Env[Any, Any]) -> RollbackWrapper:
    """`env` itself, if it is a RollbackWrapper.

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
                f"{' and '.join(outer)} outside RollbackWrapper would not be taken back by a "
                "restore; make RollbackWrapper the outermost: "
                f"RollbackWrapper({'('.join(outer)}(env{')' * len(outer)})"
            )
        outer.append(type(link).__name__)
        link = link.env
    raise UsageError(
        f"{env} cannot go back to earlier states; wrap it: RollbackWrapper(env), outermost"
    )


find_rollback = require_outermost
"""The RollbackWrapper an agent is to use; same rules and errors as `require_outermost`."""
