"""Problems as tasks: one task per problem, and checks of the environments' arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import signature
from typing import Any

from leafe_gym.envs.tasks import TaskList, check_split, list_arguments, tag_of
from leafe_gym.errors import UsageError
from leafe_gym.types import Json, Task

_PLACE = frozenset({"data", "problems", "sandbox", "allow_unsandboxed", "sandbox_options"})
"""Arguments that change where something is stored or runs; they do not identify a task."""


def select_problems(
    names: Sequence[str],
    problem: str | int | None,
    split: str | None,
    split_of: Callable[[str], str],
) -> Sequence[str]:
    """The names of the problems that an environment uses.

    Args:
        names: of all problems.
        problem: the only problem to use; None for all.
        split: use problems of this split only; None for all.
        split_of: the split of a problem by its name.

    Raises:
        UsageError: if the problem does not exist, or the split is unknown or empty.
    """
    check_split(split, optional=True)
    if not names:
        raise UsageError("data: none of the file's problems can be used; see leafe check-problems")
    if problem is not None:
        if type(problem) is int:  # as the command line reads a number
            problem = str(problem)
        if not isinstance(problem, str) or problem not in names:
            raise UsageError(f"problem={problem!r}: no problem has that name")
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
        env: the environment's class; `kwargs` are arguments of its constructor.
        env_id: its id.
        split: "train", "val", "test", or "all".
        kwargs: as given by the user.
        names: of all problems.
        split_of: the split of a problem by its name.
        path: of the file with the problems; None for the built-in ones.

    Raises:
        UsageError: if the split or an argument cannot be used.
    """
    checked = list_arguments(split, kwargs, also=("all",))
    known = signature(env.__init__).parameters.keys() - {"self", "problem", "split"}
    if unknown := kwargs.keys() - known:
        raise UsageError(
            f"unknown arguments {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}"
        )
    given = checked if path is None else {**checked, "data": path}
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
    return Task(
        id=f"{env_id}:{name}{tag_of(changed)}",
        env_id=env_id,
        kwargs={**kwargs, "problem": name},
        split=split_of(name),
    )
