"""The way back in the text worlds: each environment's restore against its library's own way.

One file for each part (`_restore_<name>.py`) with a function `measure() -> Report`, whose figures,
goals and notes end up here; the part of a library that is not installed gives nulls and the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module

from _harness import Report, main

from leafe_gym.errors import MissingExtra


@dataclass(frozen=True)
class Part:
    """One environment: the module that measures it, and what it measures."""

    module: str
    keys: Sequence[str]


PARTS = (
    Part("_restore_textworld", ("textworld_vs_copy",)),
    Part("_restore_alfworld", ("alfworld_vs_replay",)),
    Part(
        "_restore_scienceworld",
        ("scienceworld_vs_replay", "scienceworld_fast_vs_replay", "scienceworld_park_ms"),
    ),
    Part("_restore_webshop", ("webshop_search_ms",)),
)


def measure() -> Report:
    """All parts, one after another."""
    whole = Report()
    for part in PARTS:
        try:
            one: Report = import_module(part.module).measure()
        except (MissingExtra, ModuleNotFoundError) as error:
            one = Report(figures=dict.fromkeys(part.keys))
            one.skipped = dict.fromkeys(part.keys, str(error))
        whole.figures |= one.figures
        whole.goals |= one.goals
        whole.skipped |= one.skipped
        whole.meta |= one.meta
    return whole


if __name__ == "__main__":
    main(measure)
