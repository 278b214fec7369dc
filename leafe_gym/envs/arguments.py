"""Checks of arguments that several environments share; each names the argument it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from leafe_gym.arguments import whole_number
from leafe_gym.errors import UsageError


def check_render_mode(render_mode: Any) -> None:
    """Check the render mode of a text environment.

    Raises:
        UsageError: if it is neither "ansi" nor None.
    """
    if render_mode is not None and render_mode != "ansi":
        raise UsageError(f"render_mode={render_mode!r}: use 'ansi' or None")


def check_reset(seed: Any, options: Any) -> dict[str, Any]:
    """The options of a reset as a dict, after a check of the seed.

    Raises:
        UsageError: if the seed is not None or an int >= 0, or the options are not a mapping.
    """
    if seed is not None:
        whole_number("seed", seed, 0)
    if options is not None and not isinstance(options, Mapping):
        raise UsageError(f"options={options!r}: give a dict, or None")
    return dict(options or {})
