"""Tables for generated games: rooms, receptacles, objects and their affordances.

The kinds, affordances and six task types are a subset of ALFRED's (Shridhar et al. 2020).
"""

from __future__ import annotations

from typing import NamedTuple

from leafe_gym.envs.data_files import packaged_json


class ObjectKind(NamedTuple):
    """A kind of object.

    Attributes:
        affords: some of heat, cool, clean, slice.
        rooms: those in which it occurs.
        fits: kinds of receptacle that it fits in or on.
    """

    affords: tuple[str, ...]
    rooms: tuple[str, ...]
    fits: tuple[str, ...]


_TABLES = packaged_json("alfworld", "room_tables.json")

TASK_TYPES: tuple[str, ...] = tuple(_TABLES["task_types"])

ROOMS: dict[str, dict[str, tuple[int, int]]] = {
    room: {kind: (low, high) for kind, (low, high) in stands.items()}
    for room, stands in _TABLES["rooms"].items()
}
"""Room -> kind of receptacle -> minimum and maximum number."""

OPENABLE = frozenset(_TABLES["openable"])
OBJECTS = {
    kind: ObjectKind(**{name: tuple(value) for name, value in about.items()})
    for kind, about in _TABLES["objects"].items()
}

LAMP: str = _TABLES["lamp"]
LAMP_STANDS: tuple[str, ...] = tuple(_TABLES["lamp_stands"])
NEEDS = {task_type: (affords, stand) for task_type, (affords, stand) in _TABLES["needs"].items()}
"""Task type -> required affordance, and the receptacle that provides it."""


def affords(kind: str) -> tuple[str, ...]:
    """Affordances of a kind of object: heat, cool, clean, slice."""
    return OBJECTS[kind].affords


def fits(kind: str) -> tuple[str, ...]:
    """Kinds of receptacle that a kind of object fits in or on."""
    return OBJECTS[kind].fits


def kinds_in(room: str) -> list[str]:
    """Kinds of object that occur in a room."""
    return [kind for kind, about in OBJECTS.items() if room in about.rooms]


def rooms_for(task_type: str) -> list[str]:
    """Rooms in which a type of task is possible."""
    if task_type == "look_at_obj_in_light":
        return ["living room", "bedroom"]
    tool = NEEDS.get(task_type, ("", ""))[1]
    return [room for room, stands in ROOMS.items() if not tool or tool in stands]
