"""The arguments of `ALFWorldEnv`, checked and in one form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from leafe_gym.envs.alfworld.folder import official_root
from leafe_gym.envs.alfworld.house import TASK_TYPES
from leafe_gym.envs.tasks import SPLITS
from leafe_gym.errors import UsageError

_GAMES = ("auto", "generated", "official")


@dataclass(frozen=True, slots=True)
class Config:
    """What an environment plays.

    Attributes:
        games: "generated" or "official".
        trial: the one game to play, or None for one by seed.
        task_types: types to choose from.
        split: the only split to play, or None for any.
    """

    games: Literal["generated", "official"]
    trial: str | None
    task_types: tuple[str, ...]
    split: str | None

    @classmethod
    def of(
        cls,
        games: str = "auto",
        trial: str | None = None,
        task_types: Sequence[str | int] | str | int | None = None,
        split: str | None = None,
    ) -> Config:
        """The checked arguments; their meaning is that of `ALFWorldEnv`'s.

        Raises:
            UsageError: if an argument cannot be used; says which values can.
        """
        if games not in _GAMES:
            raise UsageError(f"games={games!r}: use one of {', '.join(_GAMES)}")
        if split is not None and split not in SPLITS:
            raise UsageError(f"split={split!r}: use one of {', '.join(SPLITS)}, or None")
        if trial is not None and not isinstance(trial, str):
            raise UsageError(f"trial={trial!r}: give the path of a trial's folder")
        official = games == "official" or (games == "auto" and official_root() is not None)
        if trial is not None:
            official = True
        return cls("official" if official else "generated", trial, _types(task_types), split)


def _types(given: Any) -> tuple[str, ...]:
    """The types of tasks by name; they can be given by ALFWorld's numbers, too."""
    if given is None:
        return TASK_TYPES
    names: list[str] = []
    known = {name: name for name in TASK_TYPES} | dict[Any, str](enumerate(TASK_TYPES, 1))
    for one in [given] if isinstance(given, str | int) else list(given):
        if one not in known:
            there_are = ", ".join(f"{at} {name}" for at, name in enumerate(TASK_TYPES, 1))
            raise UsageError(f"task_types: there is no {one!r}; use {there_are}")
        names.append(known[one])
    if not names:
        raise UsageError("task_types=[]: give at least one, or None for all six")
    return tuple(dict.fromkeys(names))
