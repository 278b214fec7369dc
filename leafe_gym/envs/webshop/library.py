"""The packages of the extra `webshop`, imported when first needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from leafe_gym.errors import MissingExtra

PACKAGES = ("bm25s", "ijson", "rapidfuzz", "Stemmer")


def load(module: str) -> Any:
    """A package of the extra, or one of its modules.

    Raises:
        MissingExtra: if it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtra("WebShop", "webshop") from error


def need() -> None:
    """Fail early where a package is not there.

    Raises:
        MissingExtra: if one is not installed.
    """
    for package in PACKAGES:
        load(package)
