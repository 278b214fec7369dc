"""What comes with the package `alfworld`, without importing it.

Its import sets `ALFWORLD_DATA` in the environment of the process and makes that folder.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from leafe_gym.errors import MissingExtra


@cache
def shipped(name: str) -> str:
    """The text of a file in ALFWorld's `data` folder: "alfred.pddl" or "alfred.twl2".

    Raises:
        MissingExtra: if ALFWorld is not installed.
    """
    spec = find_spec("alfworld")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra("ALFWorld", "alfworld")
    return (Path(spec.submodule_search_locations[0]) / "data" / name).read_text("utf-8")


def engine() -> Any:
    """The module `engine`, which needs TextWorld and the planner.

    Raises:
        MissingExtra: if one of them is not installed.
    """
    try:
        return import_module("leafe_gym.envs.alfworld.engine")
    except ImportError as error:
        raise MissingExtra("ALFWorld", "alfworld") from error
