"""Problems as tasks: one for each, in the split that its name or content decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import signature
from math import isfinite
from typing import Any

from leafe_gym.envs.tasks import SPLITS, TaskList, hash_of, plain
from leafe_gym.errors import UsageError
from leafe_gym.types import Json, Task

_PLACE = frozenset({"problems", "sandbox", "allow_unsandboxed", "sandbox_options"})
"""Arguments that change where something is or runs, not what a task is."""


def select_problems(
    names: Sequence[str], problem: str | None, split: str | None, split_of: Callable[[str], str]
) -> Sequence[str]:
    """The names to pose.

    Raises:
        UsageError: if there is no problem of that name, or none in the split.
    """
    if split is not None and split not in SPLITS:
        raise UsageError(f"split={split!r}: use one of {', '.join(SPLITS)}, or None for all")
    if problem is not None:
        if problem not in names:
            raise UsageError(f"problem={problem!r}: there is none of that name")
        return (problem,)
    if split is None:
        return names
    found = [name for name in names if split_of(name) == split]
    if not found:
        raise UsageError(f"split={split!r}: none of the {len(names)} problems is in it")
    return found


def list_problems(
    env: type[Any],
    env_id: str,
    split: str,
    kwargs: Mapping[str, Json],
    names: Sequence[str],
    split_of: Callable[[str], str],
    path: str | None,
) -> TaskList:
    """The tasks of a split.

    Args:
        env: the environment's class, whose arguments `kwargs` are.
        env_id: its id.
        split: "train", "val", "test", or "all".
        kwargs: as given by the user.
        names: of all problems.
        split_of: the split of a problem by its name.
        path: of the file the problems are in; None for the built-in ones.

    Raises:
        UsageError: if the split or an argument cannot be used.
    """
    if split not in (*SPLITS, "all"):
        raise UsageError(f"split={split!r}: use one of {', '.join(SPLITS)}, or all")
    known = signature(env.__init__).parameters.keys() - {"self", "problem", "split"}
    if unknown := kwargs.keys() - known:
        raise UsageError(
            f"unknown arguments {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}"
        )
    given = plain({**kwargs, **({} if path is None else {"problems": path})})
    numbers = [n for n, name in enumerate(names) if split in ("all", split_of(name))]
    return TaskList(partial(_task, env, env_id, names, given, split_of), numbers)


def _task(
    env: type[Any],
    env_id: str,
    names: Sequence[str],
    kwargs: Mapping[str, Json],
    split_of: Callable[[str], str],
    number: int,
) -> Task:
    name = names[number]
    defaults = {key: one.default for key, one in signature(env.__init__).parameters.items()}
    changed = {k: v for k, v in kwargs.items() if k not in _PLACE and v != defaults[k]}
    tag = f":{hash_of(changed)}" if changed else ""
    return Task(
        id=f"{env_id}:{name}{tag}",
        env_id=env_id,
        kwargs={**kwargs, "problem": name},
        split=split_of(name),
    )


def check_scale(value: Any) -> None:
    """Raise a `UsageError` unless `value` is a finite factor above 0."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not isfinite(value) or value <= 0:
        raise UsageError(f"time_scale={value!r}: expected a number above 0")
