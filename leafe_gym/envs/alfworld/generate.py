"""Generated games: a room, objects and a task; solvable by construction.

The target object lies in a receptacle of the room, and the room has the appliance for cleaning,
heating or cooling it and a receptacle that takes it. At the start no object of the target's kind
lies in the destination.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leafe_gym.envs.alfworld.room_tables import (
    LAMP,
    LAMP_STANDS,
    NEEDS,
    OBJECTS,
    ROOMS,
    TASK_TYPES,
    affords,
    fits,
    kinds_in,
    rooms_for,
)
from leafe_gym.envs.tasks import SPLITS, hash_of, split_by_hash

_OTHERS = (5, 10)
"""Minimum and maximum number of other objects in a room."""

_TRIES = 10_000


@dataclass(frozen=True, slots=True)
class RoomLayout:
    """A room and a task in it.

    Attributes:
        task_type: one of `TASK_TYPES`.
        target: kind of the target object.
        parent: kind of the destination receptacle; "" for tasks with a lamp.
        receptacles: kind of the receptacle at each place of the room.
        things: (kind, index of its place) of every object.
        phrase: which of two sentences states the task, 0 or 1.
    """

    task_type: str
    target: str
    parent: str
    receptacles: tuple[str, ...]
    things: tuple[tuple[str, int], ...]
    phrase: int = 0

    @property
    def goal(self) -> str:
        """The task in words, without a full stop."""
        thing, place = self.target.lower(), self.parent.lower()
        return _SENTENCES[self.task_type][self.phrase].format(thing=thing, place=place)

    @property
    def digest(self) -> str:
        """Hash of the task and all positions; independent of order and sentence."""
        insides: list[list[str]] = [[] for _ in self.receptacles]
        for kind, place in self.things:
            insides[place].append(kind)
        places = zip(self.receptacles, insides, strict=True)
        content = sorted([kind, *sorted(inside)] for kind, inside in places)
        return hash_of([self.task_type, self.target, self.parent, content], size=8)

    @property
    def split(self) -> str:
        """The split the game belongs to: 80 % train, 10 % val, 10 % test, by `digest`."""
        return split_by_hash(bytes.fromhex(self.digest))


def generate(
    seed: int, task_types: Sequence[str] = TASK_TYPES, split: str | None = None
) -> RoomLayout:
    """The layout of a seed; with a split, the first one drawn from it that belongs to the split."""
    place = len(SPLITS) if split is None else SPLITS.index(split)
    rng = np.random.default_rng([seed % 2**64, place])
    for _ in range(_TRIES):
        layout = _draw(rng, str(rng.choice(list(task_types))))
        if split is None or layout.split == split:
            return layout
    raise AssertionError(f"no layout of split {split!r} in {_TRIES}")


def _draw(rng: np.random.Generator, task_type: str) -> RoomLayout:
    room = str(rng.choice(rooms_for(task_type)))
    stands = [
        kind
        for kind, (low, high) in ROOMS[room].items()
        for _ in range(int(rng.integers(low, high + 1)))
    ]
    target, parent = _wanted(rng, task_type, room, stands)
    things: list[tuple[str, int]] = []
    count = 2 if task_type == "pick_two_obj_and_place" else 1
    for _ in range(count):
        _put(rng, things, target, [kind for kind in fits(target) if kind != parent], stands)
    if task_type == "look_at_obj_in_light":
        _put(rng, things, LAMP, LAMP_STANDS, stands)
    for kind in rng.choice(kinds_in(room), size=int(rng.integers(*_OTHERS, endpoint=True))):
        places = [one for one in fits(kind) if kind != target or one != parent]
        _put(rng, things, str(kind), places, stands)
    return RoomLayout(
        task_type=task_type,
        target=target,
        parent=parent,
        receptacles=tuple(stands),
        things=tuple(things),
        phrase=int(rng.integers(2)),
    )


def _wanted(
    rng: np.random.Generator, task_type: str, room: str, stands: Sequence[str]
) -> tuple[str, str]:
    """Kinds of target and destination such that the target fits somewhere else as well."""
    afford, tool = NEEDS.get(task_type, ("", ""))
    pairs = []
    for kind in kinds_in(room):
        here = sorted({one for one in fits(kind) if one in stands})
        if afford and afford not in affords(kind):
            continue
        if task_type == "look_at_obj_in_light":
            pairs += [(kind, "")] if here else []
        elif len(here) > 1:
            pairs += [(kind, parent) for parent in here if parent != tool]
    return pairs[int(rng.integers(len(pairs)))]


def _put(
    rng: np.random.Generator,
    things: list[tuple[str, int]],
    kind: str,
    into: Sequence[str],
    stands: Sequence[str],
) -> None:
    """Place an object in one of the room's receptacles of these kinds, if there is one."""
    places = [place for place, stand in enumerate(stands) if stand in into]
    if places:
        things.append((kind, int(rng.choice(places))))


_SENTENCES = {
    "pick_and_place_simple": ("put a {thing} in the {place}", "move one {thing} to the {place}"),
    "look_at_obj_in_light": (
        "look at a {thing} under the desklamp",
        "hold a {thing} in the light of the desklamp",
    ),
    "pick_clean_then_place_in_recep": (
        "wash a {thing} and put it in the {place}",
        "put a clean {thing} in the {place}",
    ),
    "pick_heat_then_place_in_recep": (
        "heat a {thing} and put it in the {place}",
        "put a hot {thing} in the {place}",
    ),
    "pick_cool_then_place_in_recep": (
        "cool a {thing} and put it in the {place}",
        "put a cold {thing} in the {place}",
    ),
    "pick_two_obj_and_place": (
        "put two {thing}s in the {place}",
        "find two {thing}s and put both in the same {place}",
    ),
}
assert set(_SENTENCES) == set(TASK_TYPES)
assert LAMP not in OBJECTS
