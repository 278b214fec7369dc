"""Sokoban as tasks: 10,000 generated levels per split, or the levels of a file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from leafe_gym.envs.data_files import take_data
from leafe_gym.envs.sokoban.boxoban import LevelFile
from leafe_gym.envs.sokoban.config import SokobanConfig, level_file
from leafe_gym.envs.tasks import TaskList, list_arguments, seed_tasks, tag_of
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
    rest = dict(kwargs)
    data = take_data(rest, "levels")
    given = list_arguments(split, rest, ("level",), () if data is None else ("all",))
    tag = _tag(given)
    if data is None:
        return seed_tasks(ENV_ID, split, {**given, "split": split}, tag)
    given["data"] = data
    file = level_file(data)
    numbers = range(len(file.boards)) if split == "all" else file.indices(split)
    return TaskList(partial(_from_file, file, given, tag), numbers)


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
    rest = {name: value for name, value in kwargs.items() if name != "render_mode"}
    if unknown := rest.keys() - SokobanConfig.arguments():
        known = ", ".join(sorted(SokobanConfig.arguments()))
        raise UsageError(f"unknown arguments {', '.join(sorted(unknown))}; there are {known}")
    default, config = SokobanConfig.of().as_json(), SokobanConfig.of(**rest).as_json()
    return tag_of({name: value for name, value in config.items() if value != default[name]})
