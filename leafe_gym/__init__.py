"""Trees of recovered mistakes for training language-model agents (LEAFE, arXiv 2603.16843).

The public names below load on first use; importing the package registers its environments with
Gymnasium and loads nothing heavier than that.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from leafe_gym.envs import register_builtin

if TYPE_CHECKING:
    from leafe_gym.envs.space import TextSpace as TextSpace
    from leafe_gym.wrappers.check import check_rollback as check_rollback
    from leafe_gym.wrappers.rollback import RollbackWrapper as RollbackWrapper

_HOME = {
    "TextSpace": "leafe_gym.envs.space",
    "check_rollback": "leafe_gym.wrappers.check",
    "RollbackWrapper": "leafe_gym.wrappers.rollback",
}
"""Public name -> the module it lives in."""

__all__ = sorted(_HOME)

register_builtin()


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'leafe_gym' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
