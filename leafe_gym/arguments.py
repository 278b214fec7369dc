"""Checks of the arguments of public functions; each names the argument that it refuses."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from leafe_gym.errors import UsageError


def whole_number(name: str, value: Any, low: int) -> int:
    """The value, if it is an int, not a bool, of at least `low`.

    Raises:
        UsageError: otherwise.
    """
    if type(value) is not int or value < low:
        raise UsageError(f"{name}={value!r}: expected a whole number >= {low}")
    return value


def one_of(name: str, value: Any, choices: Sequence[str]) -> str:
    """The value, if it is one of `choices`.

    Raises:
        UsageError: otherwise.
    """
    if not isinstance(value, str) or value not in choices:
        raise UsageError(f"{name}={value!r}: expected one of {', '.join(choices)}")
    return value


def true_or_false(name: str, value: Any) -> bool:
    """The value, if it is a bool.

    Raises:
        UsageError: otherwise.
    """
    if not isinstance(value, bool):
        raise UsageError(f"{name}={value!r}: expected True or False")
    return value


def require_instance(name: str, value: object, *kinds: type[Any]) -> None:
    """Do nothing if the value is of one of the types.

    Raises:
        UsageError: otherwise; names the types.
    """
    if not isinstance(value, kinds):
        expected = " or ".join(kind.__name__ for kind in kinds)
        raise UsageError(f"{name}={value!r}: expected {expected}")


def require_path(name: str, value: object) -> Path:
    """The value as a path.

    Raises:
        UsageError: if it is not a usable path.
    """
    try:
        path = Path(value)  # type: ignore[arg-type]
        os.fsencode(path)
    except (TypeError, ValueError):
        path = Path("\0")
    if value == "" or "\0" in str(path):
        raise UsageError(f"{name}={value!r}: expected the path of a file or folder")
    return path
