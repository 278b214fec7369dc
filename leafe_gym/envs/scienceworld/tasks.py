"""ScienceWorld's tasks and variations as a list: 7,207 of them, in its own three splits."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from leafe_gym.envs.scienceworld.task_catalogue import (
    TASKS,
    simplified,
    task_of,
    variations,
)
from leafe_gym.envs.tasks import TaskList, list_arguments, tag_of
from leafe_gym.types import Json, Task

ENV_ID = "leafe/ScienceWorld-v0"


def list_tasks(split: str, kwargs: Mapping[str, Any]) -> TaskList:
    """The variations of a split; tasks are interleaved, so any slice covers many of them.

    Args:
        split: "train", "val" or "test": ScienceWorld's train, dev and test.
        kwargs: other arguments of `ScienceWorldEnv`; `task` restricts the list to one task.

    Raises:
        UsageError: if the split or an argument cannot be used.
    """
    given = list_arguments(split, kwargs, ("variation",))
    only = given.pop("task", None)
    names = TASKS if only is None else (task_of(only),)
    if "simplifications" in given:
        given["simplifications"] = simplified(given["simplifications"], only)
    here = {name: variations(name, split) for name in names}
    pairs = [
        (name, here[name][turn])
        for turn in range(max(map(len, here.values())))
        for name in names
        if turn < len(here[name])
    ]
    return TaskList(partial(_build, pairs, split, given), range(len(pairs)))


def _build(pairs: list[tuple[str, int]], split: str, rest: Mapping[str, Json], number: int) -> Task:
    name, variation = pairs[number]
    return Task(
        id=f"{ENV_ID}:{name}:{variation}{tag_of(rest)}",
        env_id=ENV_ID,
        kwargs={"task": name, "variation": variation, **rest},
        split=split,
    )
