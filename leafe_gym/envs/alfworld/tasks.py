"""ALFWorld's games as tasks: the official ones, or 10,000 generated ones per split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leafe_gym.envs.alfworld.config import ALFWorldConfig
from leafe_gym.envs.alfworld.official_files import find_trials, need_root
from leafe_gym.envs.alfworld.room_tables import TASK_TYPES
from leafe_gym.envs.tasks import TaskList, list_arguments, seed_tasks, tag_of
from leafe_gym.errors import UsageError
from leafe_gym.types import Json, Task

ENV_ID = "leafe/ALFWorld-v0"


def list_tasks(split: str, kwargs: Mapping[str, Any]) -> TaskList:
    """The tasks of a split.

    Official: train is ALFWorld's `train`, val its `valid_seen`, test its `valid_unseen`.
    Generated: seeds 0 to 9999, each with the split in its `kwargs`, so that the generator draws
    games until one belongs to the split; no game is in two splits.

    Args:
        split: "train", "val" or "test".
        kwargs: other arguments of `ALFWorldEnv`.

    Raises:
        UsageError: if the split or an argument cannot be used, or the official games are not found.
    """
    given = list_arguments(split, kwargs, ("trial",))
    chosen = {name: given[name] for name in ("data", "games", "task_types") if name in given}
    config = ALFWorldConfig.of(**chosen, split=split)
    if config.trial is not None:
        raise UsageError(f"data={given['data']!r} is one game, not a folder of games")
    # Names instead of "auto" or numbers, so that a task means the same on every machine.
    given.pop("task_types", None)
    some = {} if config.task_types == TASK_TYPES else {"task_types": list(config.task_types)}
    rest = {name: value for name, value in given.items() if name != "games"}
    if config.games == "official":
        return _official(need_root(config.data), split, config, rest)
    rest = {**rest, **some}
    kwargs = {"games": "generated", "split": split, **rest}
    return seed_tasks(ENV_ID, split, kwargs, tag_of(rest))


def _official(root: Path, split: str, config: ALFWorldConfig, rest: Mapping[str, Json]) -> TaskList:
    trials: list[str] = []
    # Ids do not depend on the folder, so that they are equal on all machines.
    tag = tag_of({name: value for name, value in rest.items() if name != "data"})

    def numbers() -> range:
        trials[:] = find_trials(root, split, config.task_types)
        return range(len(trials))

    def build(number: int) -> Task:
        trial = trials[number]
        kwargs = {"games": "official", "trial": trial, **rest}
        return Task(id=f"{ENV_ID}:{trial}{tag}", env_id=ENV_ID, kwargs=kwargs, split=split)

    return TaskList(build, numbers)
