"""The way back in the text worlds: each environment's restore against its library's own way.

One file for each part (`_restore_<name>.py`) with a function `measure() -> Report`, whose figures,
goals and notes end up here; the part of a library that is not installed gives nulls and the reason.
`--part webshop` measures that one alone and keeps what is recorded of the others.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module

from _harness import RESULTS, Report, main

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


def measure(only: str | None = None) -> Report:
    """All parts, one after another; or one of them, beside what is recorded of the others."""
    whole = Report() if only is None else _recorded()
    for part in PARTS:
        if only is not None and part.module != f"_restore_{only}":
            continue
        try:
            one: Report = import_module(part.module).measure()
        except (MissingExtra, ModuleNotFoundError) as error:
            one = Report(figures=dict.fromkeys(part.keys))
            one.skipped = dict.fromkeys(part.keys, str(error))
        for key in part.keys:
            whole.skipped.pop(key, None)
        whole.figures |= one.figures
        whole.goals |= one.goals
        whole.skipped |= one.skipped
        whole.meta |= one.meta
    return whole


def _recorded() -> Report:
    """What the result file holds; its machine and versions are written anew."""
    figures = json.loads((RESULTS / "restore.json").read_text())
    meta = figures.pop("meta")
    goals = {}
    for key, told in meta.pop("goals").items():
        sign, limit = told["goal"].split()
        goals[key] = (sign, float(limit))
    for name in ("machine", "versions", "seconds", "peers"):
        del meta[name]
    return Report(figures, goals, skipped=meta.pop("skipped"), meta=meta)


def _only() -> str | None:
    """The value of `--part`, which is taken from the command line."""
    if "--part" not in sys.argv:
        return None
    at = sys.argv.index("--part")
    name = (sys.argv[at + 1 :] or [""])[0]
    del sys.argv[at : at + 2]
    known = [part.module.removeprefix("_restore_") for part in PARTS]
    if name not in known:
        sys.exit(f"--part {name}: use one of {', '.join(known)}")
    return name


if __name__ == "__main__":
    main(partial(measure, _only()))
