"""Checks of arguments that several environments share; each names the argument it refuses."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from leafe_gym.arguments import whole_number
from leafe_gym.errors import UsageError


def check_render_mode(render_mode: Any) -> None:
    """Check the render mode of a text environment.

    Raises:
        UsageError: if it is neither "ansi" nor None.
    """
    if render_mode is not None and not (isinstance(render_mode, str) and render_mode == "ansi"):
        raise UsageError(f"render_mode={render_mode!r}: use 'ansi' or None")


def check_reset(seed: Any, options: Any, known: Collection[str] = ()) -> dict[str, Any]:
    """The options of a reset as a dict.

    Args:
        seed: as given to `reset`.
        options: as given to `reset`.
        known: names of the options that exist.

    Raises:
        UsageError: if the seed is not None or an int >= 0, the options are not a mapping, or one
            is unknown.
    """
    if seed is not None:
        whole_number("seed", seed, 0)
    if options is not None and not isinstance(options, Mapping):
        raise UsageError(f"options={options!r}: give a dict, or None")
    given = dict(options or {})
    if unknown := [name for name in given if name not in known]:
        rest = f"use {', '.join(known)}" if known else "there are none"
        raise UsageError(f"unknown reset options {', '.join(map(repr, unknown))}; {rest}")
    return given


def check_above_zero(name: str, value: Any, unit: str = "a number") -> None:
    """Check that a value is a finite number above 0.

    Raises:
        UsageError: if it is not.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < float("inf"):
        raise UsageError(f"{name}={value!r}: expected {unit} above 0")
