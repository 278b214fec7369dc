"""The arguments of `SokobanEnv`, checked and in one form."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from inspect import signature
from typing import Any

from leafe_gym.envs.sokoban.boxoban import read_levels
from leafe_gym.envs.sokoban.levels import Shape
from leafe_gym.envs.tasks import SPLITS, plain
from leafe_gym.errors import UsageError
from leafe_gym.types import Json

_SMALLEST, _LARGEST = 3, 50
_PULLS_PER_BOX = 10


@dataclass(frozen=True, slots=True)
class Config:
    """What an environment plays.

    Attributes:
        shape: of generated levels.
        max_steps: steps after which an episode is truncated; >= 1.
        levels: path of a level file, or None for generated levels.
        level: number of the one level to play, from 0, or None for any.
        split: the only split to play, or None for any.
    """

    shape: Shape
    max_steps: int
    levels: str | None
    level: int | None
    split: str | None

    @classmethod
    def of(
        cls,
        *,
        size: int | Sequence[int] = (7, 7),
        boxes: int = 2,
        max_steps: int = 120,
        inner_walls: Sequence[int] | None = None,
        pulls: int | None = None,
        levels: str | os.PathLike[str] | None = None,
        level: int | None = None,
        split: str | None = None,
        solution: Sequence[int] | None = None,
    ) -> Config:
        """The checked arguments; their meaning is that of `SokobanEnv`'s.

        Raises:
            UsageError: if an argument cannot be used; says which values can.
        """
        if split is not None and split not in SPLITS:
            raise UsageError(f"split={split!r}: use one of {', '.join(SPLITS)}, or None for all")
        shape = _shape(size, boxes, inner_walls, pulls, solution)
        path = None if levels is None else level_path(levels)
        _check_level(path, level, split)
        return cls(shape, _whole("max_steps", max_steps, 1), path, level, split)

    @classmethod
    def arguments(cls) -> frozenset[str]:
        """The names of the arguments of `of`."""
        return frozenset(signature(cls.of).parameters)

    def as_json(self) -> dict[str, Json]:
        """The same as plain JSON, equal for equal environments."""
        values = plain(asdict(self))
        return {**values.pop("shape"), **values}


def level_path(levels: Any) -> str:
    """The path as a string.

    Raises:
        UsageError: if it is no path.
    """
    if not isinstance(levels, str | os.PathLike):
        raise UsageError(f"levels={levels!r}: give the path of a level file")
    return str(os.fspath(levels))


def _shape(
    size: int | Sequence[int],
    boxes: int,
    inner_walls: Sequence[int] | None,
    pulls: int | None,
    solution: Sequence[int] | None,
) -> Shape:
    pair = (size, size) if isinstance(size, int) else size
    rows, cols = _pair("size", pair, _SMALLEST, _LARGEST)
    inside = (rows - 2) * (cols - 2)
    most = max(1, (inside - 1) // 2)
    if _whole("boxes", boxes, 1) > most:
        raise UsageError(
            f"boxes={boxes}: a room of size=({rows}, {cols}) holds at most {most}; use a larger "
            "size or fewer boxes"
        )
    walls = (inside // 10, inside // 4) if inner_walls is None else inner_walls
    low, high = _pair("inner_walls", walls, 0, inside - 1)
    if low > high:
        raise UsageError(f"inner_walls=({low}, {high}): give the fewest first, then the most")
    lengths = None if solution is None else _pair("solution", solution, 1)
    if lengths is not None and lengths[0] > lengths[1]:
        raise UsageError(f"solution={lengths}: give the fewest actions first, then the most")
    return Shape(
        rows=rows,
        cols=cols,
        boxes=boxes,
        inner_walls=(low, high),
        pulls=_PULLS_PER_BOX * boxes if pulls is None else _whole("pulls", pulls, 1),
        solution=lengths,
    )


def _check_level(levels: str | None, level: int | None, split: str | None) -> None:
    if levels is None:
        if level is not None:
            raise UsageError(f"level={level!r} needs levels='path of a level file'; give both")
        return
    file = read_levels(levels)
    choice = file.indices(split)
    if not choice:
        raise UsageError(f"{levels}: no level of split {split!r} in it; use another split or None")
    if level is None:
        return
    if _whole("level", level, 0) >= len(file.boards):
        raise UsageError(f"level={level}: {levels} has levels 0 to {len(file.boards) - 1}")
    if level not in choice:
        raise UsageError(f"level={level} of {levels} is not in split {split!r}; drop `split`")


def _pair(name: str, value: Any, low: int, high: int | None = None) -> tuple[int, int]:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        raise UsageError(f"{name}={value!r}: give two whole numbers")
    first, second = (_whole(name, number, low) for number in value)
    if high is not None and max(first, second) > high:
        raise UsageError(f"{name}={value!r}: at most {high} each")
    return first, second


def _whole(name: str, value: Any, low: int) -> int:
    """The value if it is a whole number (a bool is none) of at least `low`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise UsageError(f"{name}={value!r}: use a whole number >= {low}")
    return value
