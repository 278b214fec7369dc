"""Exact chances of winning of a model: on test levels, after mistakes, and elsewhere."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from leafe_gym._files import read_text, write_text
from leafe_gym.envs.sokoban.layouts import Place, Split, find_levels
from leafe_gym.errors import StoreCorrupt
from leafe_gym.evals.passk import pass_from_chance
from leafe_gym.evals.reproduce.levels import LevelSet, StatePool, load, recovery_pool
from leafe_gym.evals.reproduce.run_base import OUT_OF_DISTRIBUTION, chances
from leafe_gym.evals.study.scale import StudyScale
from leafe_gym.tiny.words import SMALL
from leafe_gym.types import Json


@dataclass
class Levels:
    """The levels of the study; no layout is in two splits.

    Attributes:
        scale: how many.
        folder: where it is kept which levels they are, because finding them takes minutes.
    """

    scale: StudyScale
    folder: Path

    @cached_property
    def train(self) -> LevelSet:
        """Training levels; they may share layouts."""
        return self._levels("train", self.scale.train_levels, distinct=False)

    @cached_property
    def validation(self) -> LevelSet:
        """Levels on which settings are chosen."""
        return self._levels("val", self.scale.val_levels)

    @cached_property
    def test(self) -> LevelSet:
        """Test levels."""
        return self._levels("test", self.scale.test_levels)

    @cached_property
    def elsewhere(self) -> dict[str, LevelSet]:
        """Test levels out of distribution."""
        return {
            title: self._levels("test", self.scale.elsewhere_levels, title, **changes)
            for title, changes in OUT_OF_DISTRIBUTION.items()
        }

    def _levels(
        self, split: Split, count: int, title: str = "", *, distinct: bool = True, **changes: Json
    ) -> LevelSet:
        name = "-".join(["levels", split, str(count), *title.split()])
        kept = self.folder / f"{name}.json"
        if not kept.exists():
            arguments = {**SMALL.levels, **changes}
            found = find_levels(split, count, arguments, distinct=distinct)
            write_text(kept, json.dumps(found) + "\n")
        return LevelSet.at(_places(kept), **changes)


def _places(path: Path) -> list[Place]:
    """What `_levels` wrote.

    Raises:
        StoreCorrupt: if the file holds something else.
    """
    try:
        return [(of, int(seed)) for of, seed in json.loads(read_text(path))]
    except (OSError, ValueError, TypeError) as error:
        raise StoreCorrupt(
            f"{path}: cannot be read ({error}); delete it, and the levels are found again"
        ) from error


def validated(model: Path, levels: Levels) -> dict[str, float]:
    """Pass@1 and Pass@128 on validation levels."""
    found = np.array(chances(levels.validation, load(model)))
    return {
        "pass1": float(found.mean()),
        "pass128": float(pass_from_chance(found.tolist(), 128).mean()),
    }


def tested(model: Path, base: Path, levels: Levels, seed: int) -> dict[str, Json]:
    """The chance of winning each test level, from each state of the recovery pool, and elsewhere.

    Args:
        model: what is measured.
        base: whose mistakes are the recovery pool.
        levels: of the study.
        seed: of the pool.
    """
    network: Any = load(model)
    pool: StatePool = recovery_pool(levels.test, load(base), seed)
    return {
        "success": chances(levels.test, network),
        "pool": pool.level.tolist(),
        "recovery": chances(levels.test, network, pool),
        "elsewhere": {title: chances(other, network) for title, other in levels.elsewhere.items()},
    }
