"""Optional dependencies, loaded on first use."""

from __future__ import annotations

import importlib
from typing import Any

from leafe_gym.errors import MissingExtra


def need(module: str, feature: str) -> Any:
    """The module called `module`.

    Raises:
        MissingExtra: if it is not installed; names `feature` and what to install.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtra(feature, "train") from error
