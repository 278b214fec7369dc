"""Sokoban as tasks: 10,000 generated levels per split, or the levels of a file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from leafe_gym.envs.data_files import data_argument
from leafe_gym.envs.sokoban.boxoban import LevelFile
from leafe_gym.envs.sokoban.config import SokobanConfig, level_file
from leafe_gym.envs.tasks import SEEDS, SPLITS, TaskList, hash_of, json_kwargs
from leafe_gym.errors import UsageError
from leafe_gym.types import Json, Task

ENV_ID = "leafe/Sokoban-v0"


def list_tasks(split: str, kwargs: Mapping[str, Any]) -> TaskList:
    """The tasks of a split. No level is in two splits, even rotated or mirrored.

    Generated levels: seeds 0 to 9999, each with the split in its `kwargs`, so that the environment
    draws levels until one belongs to the split. With `data=path`: the levels of the file that
    belong to the split; "all" lists all of them.

    Args:
        split: "train", "val" or "test"; with `data` also "all".
        kwargs: other arguments of `SokobanEnv`.

    Raises:
        UsageError: if the split or an argument cannot be used.
    """
    rest = {name: value for name, value in kwargs.items() if name not in ("data", "levels")}
    data = data_argument(kwargs.get("data"), "levels", kwargs.get("levels"))
    if split not in SPLITS and (split != "all" or data is None):
        raise UsageError(f"split={split!r}: use one of {', '.join(SPLITS)} ('all' with data=)")
    if "level" in kwargs:
        raise UsageError(f"level={kwargs['level']!r}: a task list contains every level: drop it")
    given = json_kwargs(rest if data is None else {**rest, "data": data})
    tag = _tag(given)
    if data is None:
        return TaskList(partial(_generated, {**given, "split": split}, tag), range(SEEDS))
    file = level_file(data)
    numbers = range(len(file.boards)) if split == "all" else file.indices(split)
    return TaskList(partial(_from_file, file, given, tag), numbers)


def _generated(kwargs: Mapping[str, Json], tag: str, seed: int) -> Task:
    split = kwargs["split"]
    task_id = f"{ENV_ID}:{split}:{seed}{tag}"
    return Task(id=task_id, env_id=ENV_ID, kwargs=dict(kwargs), split=split, seed=seed)


def _from_file(file: LevelFile, kwargs: Mapping[str, Json], tag: str, level: int) -> Task:
    # Ids contain the name and content hash of the file, not its folder, so that they are equal on
    # all machines.
    return Task(
        id=f"{ENV_ID}:{file.name}@{file.digest}:{level}{tag}",
        env_id=ENV_ID,
        kwargs={**kwargs, "level": level},
        split=file.splits[level],
    )


def _tag(kwargs: Mapping[str, Json]) -> str:
    """A colon and a hash of the arguments that differ from the default; "" if none does."""
    rest = {name: value for name, value in kwargs.items() if name not in ("data", "render_mode")}
    if unknown := rest.keys() - SokobanConfig.arguments():
        known = ", ".join(sorted(SokobanConfig.arguments()))
        raise UsageError(f"unknown arguments {', '.join(sorted(unknown))}; there are {known}")
    default, config = SokobanConfig.of().as_json(), SokobanConfig.of(**rest).as_json()
    changed = {name: value for name, value in config.items() if value != default[name]}
    return f":{hash_of(changed)}" if changed else ""
