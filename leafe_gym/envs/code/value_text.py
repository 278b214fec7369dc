"""Encoded values as readable text, the same in every process: sets in the order of their text."""

from __future__ import annotations

from leafe_gym.envs.code.harness.codec import Opaque, decode
from leafe_gym.types import Json


def encoded_value_text(data: Json) -> str:
    """What `repr` would say of the value, with sets in order."""
    try:
        return _show(decode(data))
    except (ValueError, RecursionError):
        return "<no plain value>"


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
    except ValueError:  # a number with more digits than Python writes
        return "<a very long number>"
