"""A layout as a PDDL problem, for the domain in the package `alfworld`.

Names have ALFRED's format: the kind and a position, `Mug_bar__plus_01_dot_00_...`. A sink
is `Sink_bar_..._bar_SinkBasin`; named otherwise, its text name would be "sinkbasinbasin".
"""

from __future__ import annotations

from collections.abc import Iterable

from leafe_gym.envs.alfworld.generate import RoomLayout
from leafe_gym.envs.alfworld.room_tables import LAMP, OBJECTS, OPENABLE, affords, fits

_AFFORDANCES = {
    "heat": "heatable",
    "cool": "coolable",
    "clean": "cleanable",
    "slice": "sliceable",
}
_MADE = {
    "pick_clean_then_place_in_recep": "(cleanable ?o) (isClean ?o)",
    "pick_heat_then_place_in_recep": "(heatable ?o) (isHot ?o)",
    "pick_cool_then_place_in_recep": "(coolable ?o) (isCool ?o)",
}


def problem(layout: RoomLayout) -> str:
    """The PDDL problem of a layout."""
    places = [_name(kind, 0, at) for at, kind in enumerate(layout.receptacles)]
    things = [(_name(kind, 1, at), kind, place) for at, (kind, place) in enumerate(layout.things)]
    kinds = sorted({kind for _, kind, _ in things})
    stands = sorted(set(layout.receptacles))
    objects = ["agent1 - agent", "loc_0 - location"]
    objects += [f"loc_{at + 1} - location" for at in range(len(places))]
    objects += [f"{name} - receptacle" for name in places]
    objects += [f"{name} - object" for name, _, _ in things]
    objects += [f"{kind}Type - rtype" for kind in stands]
    objects += [f"{kind}Type - otype" for kind in kinds]
    facts = ["(atLocation agent1 loc_0)", "(= (total-cost) 0)"]
    for at, (name, stand) in enumerate(zip(places, layout.receptacles, strict=True)):
        facts += [f"(receptacleType {name} {stand}Type)"]
        facts += [f"(receptacleAtLocation {name} loc_{at + 1})"]
        facts += [f"(openable {name})"] if stand in OPENABLE else []
    for name, kind, place in things:
        facts += [f"(objectType {name} {kind}Type)", f"(inReceptacle {name} {places[place]})"]
        facts += [f"(objectAtLocation {name} loc_{place + 1})"]
        facts += _properties(name, kind)
    facts += [
        f"(canContain {stand}Type {kind}Type)"
        for kind in kinds
        if kind != LAMP
        for stand in stands
        if stand in fits(kind)
    ]
    return (
        f"(define (problem {layout.task_type}_{layout.digest})\n (:domain alfred)\n"
        f" (:objects\n{_lines(objects)} )\n (:init\n{_lines(facts)} )\n {_goal(layout)}\n)\n"
    )


def _properties(name: str, kind: str) -> list[str]:
    if kind == LAMP:
        return [f"(toggleable {name})"]
    can = [f"({_AFFORDANCES[word]} {name})" for word in affords(kind)]
    return [f"(pickupable {name})", *can]


def _goal(layout: RoomLayout) -> str:
    wanted = f"(objectType ?o {layout.target}Type)"
    if layout.task_type == "look_at_obj_in_light":
        lit = f"(objectType ?t {LAMP}Type) (isToggled ?t) (inReceptacle ?t ?r)"
        here = "(receptacleAtLocation ?r ?l) (atLocation ?a ?l)"
        return (
            f"(:goal (and (exists (?t - object ?r - receptacle ?a - agent ?l - location) "
            f"(and {lit} {here})) (exists (?o - object ?a - agent) (and {wanted} (holds ?a ?o)))))"
        )
    there = f"(receptacleType ?r {layout.parent}Type)"
    if layout.task_type == "pick_two_obj_and_place":
        second = f"(not (= ?o ?p)) (objectType ?p {layout.target}Type) (inReceptacle ?p ?r)"
        return (
            "(:goal (exists (?r - receptacle ?o - object ?p - object) "
            f"(and {there} {wanted} (inReceptacle ?o ?r) {second})))"
        )
    made = _MADE.get(layout.task_type, "")
    return (
        "(:goal (exists (?r - receptacle ?o - object) "
        f"(and {there} {wanted} {made} (inReceptacle ?o ?r))))"
    )


def _name(kind: str, row: int, at: int) -> str:
    position = f"_bar__plus_{at:02d}_dot_00_bar__plus_{row:02d}_dot_00_bar__plus_00_dot_00"
    if kind == "SinkBasin":
        return f"Sink{position}_bar_SinkBasin"
    assert kind in OBJECTS or row == 0 or kind == LAMP
    return f"{kind}{position}"


def _lines(items: Iterable[str]) -> str:
    return "".join(f"  {one}\n" for one in items)
