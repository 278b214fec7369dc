"""TextWorld and Jericho, imported when first needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from leafe_gym.errors import MissingExtra


def textworld(module: str = "") -> Any:
    """The package `textworld`, or one of its modules.

    Raises:
        MissingExtra: if it is not installed.
    """
    try:
        return import_module(f"textworld.{module}" if module else "textworld")
    except ImportError as error:
        raise MissingExtra("TextWorld", "textworld") from error


def jericho() -> Any:
    """The package `jericho`.

    Raises:
        MissingExtra: if it is not installed.
    """
    try:
        return import_module("jericho")
    except ImportError as error:
        raise MissingExtra("Jericho", "jericho") from error
