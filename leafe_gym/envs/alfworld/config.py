"""The arguments of `ALFWorldEnv`, checked and normalized."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from leafe_gym.envs.alfworld.official_files import is_trial, official_root
from leafe_gym.envs.alfworld.room_tables import TASK_TYPES
from leafe_gym.envs.data_files import data_argument, find_data
from leafe_gym.envs.tasks import check_split
from leafe_gym.errors import UsageError

_GAMES = ("auto", "generated", "official")


@dataclass(frozen=True, slots=True)
class ALFWorldConfig:
    """The games that an environment plays.

    Attributes:
        games: "generated" or "official".
        data: folder of official games as given, or None for the one that is found.
        trial: the only game to play, or None for one by seed.
        task_types: types to choose from.
        split: the only split to play, or None for any.
    """

    games: Literal["generated", "official"]
    data: str | None
    trial: str | None
    task_types: tuple[str, ...]
    split: str | None

    @classmethod
    def of(
        cls,
        data: str | os.PathLike[str] | None = None,
        games: str = "auto",
        trial: str | None = None,
        task_types: Sequence[str | int] | str | int | None = None,
        split: str | None = None,
    ) -> ALFWorldConfig:
        """The checked arguments; see `ALFWorldEnv` for their meaning.

        Raises:
            UsageError: if an argument cannot be used; says which values can.
        """
        if not isinstance(games, str) or games not in _GAMES:
            raise UsageError(f"games={games!r}: use one of {', '.join(_GAMES)}")
        check_split(split, optional=True)
        if trial is not None and (not isinstance(trial, str) or not trial):
            raise UsageError(f"trial={trial!r}: give the path of a trial's folder")
        folder = data_argument(data)
        if folder is not None and games == "generated":
            raise UsageError(f"data={folder!r} is for official games; drop games='generated'")
        if folder is not None and is_trial(place := find_data(folder)):
            if trial is not None:
                raise UsageError(f"data={folder!r} and trial={trial!r} are two games; give one")
            folder, trial = None, str(place)
        official = games == "official" or folder is not None or trial is not None
        if games == "auto":
            official = official or official_root() is not None
        kind: Literal["generated", "official"] = "official" if official else "generated"
        return cls(kind, folder, trial, _types(task_types), split)


def _types(given: Any) -> tuple[str, ...]:
    """Names of task types, given by name or by ALFWorld's numbers 1 to 6."""
    if given is None:
        return TASK_TYPES
    names: list[str] = []
    known = {name: name for name in TASK_TYPES} | dict[Any, str](enumerate(TASK_TYPES, 1))
    if not isinstance(given, str | int | Sequence):
        raise UsageError(f"task_types={given!r}: give names or numbers of task types")
    for one in [given] if isinstance(given, str | int) else list(given):
        if not isinstance(one, str | int) or one not in known:
            there_are = ", ".join(f"{at} {name}" for at, name in enumerate(TASK_TYPES, 1))
            raise UsageError(f"task_types={given!r}: there is no {one!r}; use {there_are}")
        names.append(known[one])
    if not names:
        raise UsageError("task_types=[]: give at least one, or None for all six")
    return tuple(dict.fromkeys(names))
