"""Checks of the arguments of public functions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from leafe_gym.errors import UsageError


def require_path(name: str, value: object) -> Path:
    """The value as a path.

    Raises:
        UsageError: if it is not a usable path; names the argument.
    """
    try:
        path = Path(value)  # type: ignore[arg-type]
        os.fsencode(path)
    except (TypeError, ValueError):
        path = Path("\0")
    if value == "" or "\0" in str(path):
        raise UsageError(f"{name}={value!r}: expected the path of a file or folder")
    return path


def require_instance(name: str, value: object, *kinds: type[Any]) -> None:
    """Do nothing if the value is of one of the types.

    Raises:
        UsageError: if it is not; names the argument and the types.
    """
    if not isinstance(value, kinds):
        expected = " or ".join(kind.__name__ for kind in kinds)
        raise UsageError(f"{name}={value!r}: expected {expected}")


def require_int(name: str, value: object, *, low: int) -> None:
    """Do nothing if the value is a whole number of at least `low`.

    Raises:
        UsageError: if it is not; names the argument.
    """
    if type(value) is not int or value < low:
        raise UsageError(f"{name}={value!r}: expected a whole number >= {low}")
