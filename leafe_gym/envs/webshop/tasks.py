"""The goals of a shop as tasks."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from leafe_gym.envs.tasks import TaskList, list_arguments, tag_of
from leafe_gym.envs.webshop.shop import check_packages, open_shop
from leafe_gym.types import Json, Task

ENV_ID = "leafe/WebShop-v0"


def list_tasks(split: str, kwargs: Mapping[str, Any]) -> TaskList:
    """The goals of a split; the shop is opened on first access. See `Shop.split`.

    Args:
        split: "train", "val" or "test".
        kwargs: other arguments of `WebShopEnv`.

    Raises:
        MissingExtra: if a package of the extra is not installed.
        UsageError: if the split or an argument cannot be used.
    """
    given = list_arguments(split, kwargs, ("goal",))
    check_packages()
    named = given.get("data"), given.get("goals", "human"), given.get("tagger")
    return TaskList(partial(_build, split, given), lambda: open_shop(*named).split(split))


def _build(split: str, rest: Mapping[str, Json], goal: int) -> Task:
    return Task(
        id=f"{ENV_ID}:{goal}{tag_of(rest)}",
        env_id=ENV_ID,
        kwargs={"goal": goal, **rest},
        split=split,
    )
