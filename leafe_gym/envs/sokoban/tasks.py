"""Sokoban as tasks: 10,000 generated levels per split, or the levels of a file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from leafe_gym.envs.sokoban.boxoban import LevelFile, read_levels
from leafe_gym.envs.sokoban.config import Config, level_path
from leafe_gym.envs.tasks import SEEDS, SPLITS, TaskList, hash_of, plain
from leafe_gym.errors import UsageError
from leafe_gym.types import Json, Task

ENV_ID = "leafe/Sokoban-v0"


def list_tasks(split: str, kwargs: Mapping[str, Any]) -> TaskList:
    """The tasks of a split. No level is in two splits, not even turned or mirrored.

    Generated: seeds 0 to 9999, each with the split among its `kwargs`, so that the environment
    draws until a level belongs to it. With `levels=path`: the levels of the file that belong to
    the split; "all" lists every one.

    Args:
        split: "train", "val" or "test"; with `levels` also "all".
        kwargs: other arguments of `SokobanEnv`.

    Raises:
        UsageError: if the split or an argument cannot be used.
    """
    levels = kwargs.get("levels")
    if split not in SPLITS and (split != "all" or levels is None):
        raise UsageError(f"split={split!r}: use one of {', '.join(SPLITS)} ('all' with levels=)")
    if "level" in kwargs:
        raise UsageError(f"level={kwargs['level']!r}: the tasks name the level themselves; drop it")
    given = plain(kwargs if levels is None else {**kwargs, "levels": level_path(levels)})
    tag = _tag(given)
    if levels is None:
        return TaskList(partial(_generated, {**given, "split": split}, tag), range(SEEDS))
    file = read_levels(given["levels"])
    numbers = range(len(file.boards)) if split == "all" else file.indices(split)
    return TaskList(partial(_from_file, file, given, tag), numbers)


def _generated(kwargs: Mapping[str, Json], tag: str, seed: int) -> Task:
    split = kwargs["split"]
    task_id = f"{ENV_ID}:{split}:{seed}{tag}"
    return Task(id=task_id, env_id=ENV_ID, kwargs=dict(kwargs), split=split, seed=seed)


def _from_file(file: LevelFile, kwargs: Mapping[str, Json], tag: str, level: int) -> Task:
    # The file counts by name and content, not by folder, so that ids agree between machines.
    return Task(
        id=f"{ENV_ID}:{file.name}@{file.digest}:{level}{tag}",
        env_id=ENV_ID,
        kwargs={**kwargs, "level": level},
        split=file.splits[level],
    )


def _tag(kwargs: Mapping[str, Json]) -> str:
    """A colon and a short hash of the arguments that are not the default; "" without any."""
    rest = {name: value for name, value in kwargs.items() if name not in ("levels", "render_mode")}
    if unknown := rest.keys() - Config.arguments():
        known = ", ".join(sorted(Config.arguments()))
        raise UsageError(f"unknown arguments {', '.join(sorted(unknown))}; there are {known}")
    default, config = Config.of().as_json(), Config.of(**rest).as_json()
    changed = {name: value for name, value in config.items() if value != default[name]}
    return f":{hash_of(changed)}" if changed else ""
