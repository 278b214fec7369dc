"""Names of entities in ALFWorld's texts; imported when a game is played."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from textworld.generator.game import EntityInfo


def text_names(types: Mapping[str, str]) -> dict[str, Any]:
    """Entity -> name in the texts, such as "mug 2"; as ALFWorld's `Demangler` without shuffling.

    Args:
        types: entity -> its PDDL type.
    """
    kinds = {name: _kind(name) for name in sorted(types)}
    left = Counter(kind for kind in kinds.values() if kind)
    infos = {}
    for name, kind in kinds.items():
        info = EntityInfo(name, types[name])
        info.definite, info.indefinite = "the", "a"
        # The first one gets the highest number; an entity without a kind keeps its own name.
        info.name = f"{kind} {left[kind]}" if kind else f"{name} "
        left[kind] -= 1
        infos[name] = info
    return infos


def _kind(name: str) -> str:
    kind, position, _ = name.partition("_bar_")
    return f"{kind}{'basin' if 'basin' in name else ''}" if position else ""
