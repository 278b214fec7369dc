"""TextWorld and Jericho, imported when first needed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def quiet() -> Iterator[None]:
    """Jericho's warning of a story it does not know is no news: none of TextWorld's is known."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jericho().UnsupportedGameWarning)
        yield
