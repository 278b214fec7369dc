"""The arguments of `SokobanEnv`, checked and normalized."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from inspect import signature
from typing import Any

from leafe_gym.arguments import whole_number
from leafe_gym.envs.data_files import data_argument, find_data
from leafe_gym.envs.sokoban.boxoban import LevelFile, read_levels
from leafe_gym.envs.sokoban.levels import Shape
from leafe_gym.envs.tasks import check_split, json_kwargs
from leafe_gym.errors import UsageError
from leafe_gym.types import Json

_SMALLEST, _LARGEST = 3, 50
_PULLS_PER_BOX = 10
_SOURCE = "Level files: https://github.com/google-deepmind/boxoban-levels"


@dataclass(frozen=True, slots=True)
class SokobanConfig:
    """The levels that an environment plays.

    Attributes:
        shape: of generated levels.
        max_steps: steps after which an episode is truncated; >= 1.
        data: path of a level file, or None for generated levels.
        level: index of the only level to play, from 0, or None for any.
        split: the only split to play, or None for any.
    """

    shape: Shape
    max_steps: int
    data: str | None
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
        data: str | os.PathLike[str] | None = None,
        levels: str | os.PathLike[str] | None = None,
        level: int | None = None,
        split: str | None = None,
        solution: Sequence[int] | None = None,
    ) -> SokobanConfig:
        """The checked arguments; see `SokobanEnv` for their meaning.

        Raises:
            UsageError: if an argument cannot be used; says which values can.
        """
        check_split(split, optional=True)
        shape = _shape(size, boxes, inner_walls, pulls, solution)
        path = data_argument(data, "levels", levels)
        _check_level(path, level, split)
        return cls(shape, whole_number("max_steps", max_steps, 1), path, level, split)

    @classmethod
    def arguments(cls) -> frozenset[str]:
        """Names of the arguments of `of`."""
        return frozenset(signature(cls.of).parameters)

    def as_json(self) -> dict[str, Json]:
        """The arguments as plain JSON, equal for equal environments."""
        values = json_kwargs(asdict(self))
        return {**values.pop("shape"), **values}


def level_file(data: str) -> LevelFile:
    """The levels of a file, which may lie in the folder `LEAFE_DATA`.

    Raises:
        UsageError: if there is no such file; `BadLevel` if it is malformed.
    """
    return read_levels(find_data(data, _SOURCE))


def _shape(
    size: int | Sequence[int],
    boxes: int,
    inner_walls: Sequence[int] | None,
    pulls: int | None,
    solution: Sequence[int] | None,
) -> Shape:
    pair: Any = (size, size) if isinstance(size, int) else size
    rows, cols = _pair("size", pair, _SMALLEST, _LARGEST)
    inside = (rows - 2) * (cols - 2)
    most = max(1, (inside - 1) // 2)
    if whole_number("boxes", boxes, 1) > most:
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
        pulls=_PULLS_PER_BOX * boxes if pulls is None else whole_number("pulls", pulls, 1),
        solution=lengths,
    )


def _check_level(data: str | None, level: int | None, split: str | None) -> None:
    if data is None:
        if level is not None:
            raise UsageError(f"level={level!r} needs data='path of a level file'; give both")
        return
    file = level_file(data)
    choice = file.indices(split)
    if not choice:
        raise UsageError(f"{data}: has no level of split {split!r}; use another split or None")
    if level is None:
        return
    if whole_number("level", level, 0) >= len(file.boards):
        raise UsageError(f"level={level}: {data} has levels 0 to {len(file.boards) - 1}")
    if level not in choice:
        raise UsageError(f"level={level} of {data} is not in split {split!r}; drop `split`")


def _pair(name: str, value: Any, low: int, high: int | None = None) -> tuple[int, int]:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        raise UsageError(f"{name}={value!r}: give two whole numbers")
    first, second = (whole_number(name, number, low) for number in value)
    if high is not None and max(first, second) > high:
        raise UsageError(f"{name}={value!r}: at most {high} each")
    return first, second
