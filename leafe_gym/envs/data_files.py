"""Data files of environments: the argument `data=` and the folder `LEAFE_DATA`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from leafe_gym.errors import UsageError

VARIABLE = "LEAFE_DATA"
"""Environment variable with the folder in which relative paths are looked up as well."""


def data_argument(data: Any, alias: str, value: Any) -> str | None:
    """The path given as `data=` or under an older name of the argument.

    Args:
        data: the value of `data=`.
        alias: the older name.
        value: the value given under that name.

    Raises:
        UsageError: if both are given, or the value is not a path.
    """
    if data is not None and value is not None:
        raise UsageError(f"data={data!r} and {alias}={value!r} are the same argument: give one")
    name, given = ("data", data) if value is None else (alias, value)
    if given is None:
        return None
    if not isinstance(given, str | os.PathLike) or not os.fspath(given):
        raise UsageError(f"{name}={given!r}: give the path of a file or folder")
    return os.fsdecode(given)


def find_data(path: str | os.PathLike[str], advice: str = "") -> Path:
    """The absolute path of a file or folder.

    Args:
        path: absolute, or relative to the current folder or to `LEAFE_DATA`.
        advice: where to get the file, for the message.

    Raises:
        UsageError: if it exists in none of these places; names them.
    """
    found = search_data(path)
    if found is None:
        looked = " or ".join(map(str, _places(Path(path).expanduser())))
        raise UsageError(f"data={str(path)!r}: there is no {looked}. {advice}".rstrip())
    return found


def search_data(
    path: str | os.PathLike[str], accept: Callable[[Path], bool] = Path.exists
) -> Path | None:
    """As `find_data`, for the first place that `accept` takes; None if there is none."""
    for place in _places(Path(path).expanduser()):
        if accept(place):
            return place.resolve()
    return None


def _places(path: Path) -> list[Path]:
    root = os.environ.get(VARIABLE)
    return [path, Path(root) / path] if root and not path.is_absolute() else [path]
