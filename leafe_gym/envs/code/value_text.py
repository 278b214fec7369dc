"""Encoded values as readable text that is equal in every process: sets are sorted by their text."""

from __future__ import annotations

from leafe_gym.envs.code.harness.codec import Opaque, decode
from leafe_gym.types import Json


def encoded_value_text(data: Json) -> str:
    """The value's `repr`, with sets sorted."""
    try:
        return _show(decode(data))
    except (ValueError, RecursionError):
        return "<not a plain value>"


def _show(value: object) -> str:
    if isinstance(value, Opaque):
        return repr(value)
    if isinstance(value, set | frozenset):
        inside = ", ".join(sorted(map(_show, value)))
        text = f"{{{inside}}}" if inside else "set()"
        return text if isinstance(value, set) else f"frozenset({text if inside else ''})"
    if isinstance(value, list):
        return f"[{', '.join(map(_show, value))}]"
    if isinstance(value, tuple):
        return f"({', '.join(map(_show, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_show(k)}: {_show(v)}" for k, v in value.items()) + "}"
    try:
        return repr(value)
    except ValueError:  # an integer with more digits than Python converts
        return "<a very long number>"
