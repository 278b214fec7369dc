"""Two scenes in the form of ALFRED's generator, and its goals for the six task types.

Nothing of `leafe_gym` is used: the scenes are written by hand, the goals have the nested form of
ALFRED's goal library, and names, locations, distances and facts that no rule reads are as there.
`alfworld-generate`, ALFWorld's own program, makes the games from them.
"""

from __future__ import annotations

import json
from pathlib import Path

KITCHEN = {
    "CounterTop|+00.23|+00.95|-02.00": ["Apple|-00.34|+00.98|-02.01", "Mug|+00.51|+00.97|-02.11"],
    "CounterTop|-01.87|+00.95|-01.21": ["Knife|-01.70|+00.94|-00.22", "Egg|-01.92|+00.99|-01.05"],
    "Fridge|-02.10|+00.00|+01.07": ["Apple|-02.04|+00.75|+01.01", "Lettuce|-02.11|+01.15|+01.08"],
    "Microwave|-00.24|+01.69|-02.53": [],
    "Sink|-01.90|+00.97|-01.50|SinkBasin": ["Fork|-01.85|+00.77|-01.60"],
    "Cabinet|+00.68|+00.50|-02.20": ["Plate|+00.70|+00.12|-02.31"],
    "Cabinet|-01.55|+00.50|-01.98": [],
    "GarbageCan|-01.94|+00.00|+02.03": ["Egg|-01.93|+00.05|+02.10"],
    "DiningTable|+01.40|+00.90|+00.30": [
        "Fork|+01.31|+00.91|+00.44",
        "SaltShaker|+01.5|+00.9|+00.3",
    ],
}
BEDROOM = {
    "Desk|-01.33|-00.01|-01.75": ["DeskLamp|-01.60|+00.83|-01.90", "CD|-01.10|+00.84|-01.62"],
    "Bed|+00.84|+00.00|+00.29": ["Pillow|+00.71|+00.66|+00.90", "Book|+00.92|+00.62|-00.11"],
    "Drawer|-01.56|+00.66|-01.20": ["Pencil|-01.55|+00.70|-01.11"],
    "Drawer|-01.56|+00.33|-01.20": ["CD|-01.50|+00.36|-01.28"],
    "Shelf|-01.80|+01.40|+00.55": ["AlarmClock|-01.79|+01.44|+00.41"],
    "GarbageCan|-01.64|-00.01|-00.60": [],
}
"""Receptacle -> objects in it, by ALFRED's ids: kind and position."""

OPENED = "Cabinet|-01.55|+00.50|-01.98"
OPENABLE = {"Fridge", "Microwave", "Cabinet", "Drawer"}
CAN = {
    "cleanable": {"Apple", "Mug", "Knife", "Egg", "Lettuce", "Fork", "Plate"},
    "heatable": {"Apple", "Mug", "Egg", "Plate"},
    "coolable": {"Apple", "Mug", "Egg", "Lettuce", "Plate"},
    "sliceable": {"Apple", "Lettuce"},
    "isReceptacleObject": {"Mug", "Plate"},
    "toggleable": {"DeskLamp"},
}

HOLDS = {
    "CounterTop": "Apple Egg Fork Knife Lettuce Mug Plate SaltShaker",
    "Fridge": "Apple Egg Lettuce Mug Plate",
    "Microwave": "Apple Egg Mug Plate",
    "SinkBasin": "Apple Egg Fork Knife Lettuce Mug Plate",
    "Cabinet": "Mug Plate SaltShaker",
    "GarbageCan": "Apple CD Egg Lettuce Pencil",
    "DiningTable": "Apple Egg Fork Knife Lettuce Mug Plate SaltShaker",
    "Desk": "AlarmClock Book CD Pencil",
    "Bed": "Book Pillow",
    "Drawer": "Book CD Pencil",
    "Shelf": "AlarmClock Book CD Pencil",
    "Safe": "CD",
}

# task type -> (scene, FloorPlan number, object, receptacle, lamp)
TASKS = {
    "pick_and_place_simple": (KITCHEN, 10, "SaltShaker", "Cabinet", ""),
    "look_at_obj_in_light": (BEDROOM, 301, "Book", "", "DeskLamp"),
    "pick_clean_then_place_in_recep": (KITCHEN, 10, "Fork", "DiningTable", ""),
    "pick_heat_then_place_in_recep": (KITCHEN, 10, "Apple", "GarbageCan", ""),
    "pick_cool_then_place_in_recep": (KITCHEN, 10, "Mug", "CounterTop", ""),
    "pick_two_obj_and_place": (BEDROOM, 301, "CD", "Shelf", ""),
}
_MADE = {
    "pick_clean_then_place_in_recep": ("cleanable", "isClean"),
    "pick_heat_then_place_in_recep": ("heatable", "isHot"),
    "pick_cool_then_place_in_recep": ("coolable", "isCool"),
}


def write_sources(root: Path) -> None:
    """`traj_data.json` and `initial_state.pddl` of one trial per task type, without games."""
    for number, (task_type, (scene, plan, thing, place, lamp)) in enumerate(TASKS.items()):
        name = f"{task_type}-{thing}-None-{place or lamp}-{plan}"
        folder = root / "json_2.1.1" / "valid_unseen" / name / f"trial_T20190909_07562{number}"
        folder.mkdir(parents=True)
        trajectory = {
            "task_type": task_type,
            "task_id": folder.name,
            "pddl_params": {
                "mrecep_target": "",
                "object_sliced": False,
                "object_target": thing,
                "parent_target": place,
                "toggle_target": lamp,
            },
            "scene": {"floor_plan": f"FloorPlan{plan}", "scene_num": plan},
            "turk_annotations": {"anns": [{"task_desc": "Do it.", "high_descs": ["Go."]}]},
        }
        (folder / "traj_data.json").write_text(json.dumps(trajectory))
        problem = _problem(folder.name, task_type, scene, thing, place, lamp)
        (folder / "initial_state.pddl").write_text(problem)


def _plain(text: str) -> str:
    """ALFRED's spelling of its ids in PDDL; `#` is the dash of types."""
    for sign, word in (("-", "_minus_"), ("#", "-"), ("|", "_bar_"), ("+", "_plus_")):
        text = text.replace(sign, word)
    return text.replace(".", "_dot_")


def _kind(name: str) -> str:
    return "SinkBasin" if name.endswith("SinkBasin") else name.partition("|")[0]


def _problem(
    trial: str, task_type: str, scene: dict[str, list[str]], thing: str, place: str, lamp: str
) -> str:
    things = sorted(one for inside in scene.values() for one in inside)
    at = {
        name: f"loc|{3 * n - 8}|{5 - 2 * n}|{n % 4}|{15 * (n % 5)}" for n, name in enumerate(scene)
    }
    start = "loc|1|-7|2|30"
    kinds, stands = sorted({*map(_kind, things), "Candle"}), sorted({*map(_kind, scene), "Safe"})
    objects = ["agent1 # agent", *(f"{kind} # object" for kind in kinds)]
    objects += [f"{kind}Type # otype" for kind in kinds]
    objects += [f"{stand}Type # rtype" for stand in stands]
    objects += [f"{one} # object" for one in things]
    objects += [f"{one} # receptacle" for one in sorted(scene)]
    objects += [f"{one} # location" for one in (*at.values(), start)]
    facts = [f"(receptacleType {one} {_kind(one)}Type)" for one in scene]
    facts += [f"(objectType {one} {_kind(one)}Type)" for one in things]
    facts += [f"(openable {one})" for one in scene if _kind(one) in OPENABLE]
    facts += [f"(opened {one})" for one in scene if one == OPENED]
    facts += [f"(atLocation agent1 {start})"]
    facts += [f"({can} {one})" for can, of in CAN.items() for one in things if _kind(one) in of]
    facts += [f"(pickupable {one})" for one in things if _kind(one) != "DeskLamp"]
    for one, inside in scene.items():
        facts += [f"(receptacleAtLocation {one} {at[one]})"]
        for each in inside:
            facts += [f"(inReceptacle {each} {one})", f"(objectAtLocation {each} {at[one]})"]
            facts += [f"(wasInReceptacle  {each} {one})"] if _kind(each) == thing else []
    facts += [
        f"(canContain {stand}Type {kind}Type)"
        for stand in stands
        for kind in HOLDS[stand].split()
        if kind in kinds
    ]
    places = [start, *at.values()]
    facts += [
        f"(= (distance {one} {other}) {abs(n - m) + 1})"
        for n, one in enumerate(places)
        for m, other in enumerate(places)
        if n != m
    ]
    listed = "\n        ".join
    head = f"(define (problem plan_{trial})\n    (:domain alfred)\n"
    metric = "    (:metric minimize (total-cost))\n"
    return (
        f"\n{head}    (:objects\n        {_plain(listed(objects))}\n        )\n\n    (:init\n"
        f"        (= (total-cost) 0)\n        {_plain(listed(facts))}\n        )\n"
        f"{_plain(_goal(task_type, thing, place, lamp))}\n{metric})\n"
    )


def _goal(task_type: str, thing: str, place: str, lamp: str) -> str:
    of, there = f"(objectType {{}} {thing}Type)", f"(receptacleType ?r {place}Type)"
    if lamp:
        return f"""(:goal
             (and
                 (exists (?ot # object
                          ?r # receptacle
                          ?a # agent
                          ?l # location)
                     (and (objectType ?ot {lamp}Type) (toggleable ?ot) (isToggled ?ot)
                          (receptacleAtLocation ?r ?l) (atLocation ?a ?l) (inReceptacle ?ot ?r)))
                 (exists (?o # object
                          ?a # agent)
                     (and {of.format("?o")} (holds ?a ?o)))))"""
    if task_type == "pick_two_obj_and_place":
        return f"""(:goal
            (and (exists (?r # receptacle) (exists (?o1 # object)
                (and {of.format("?o1")} {there} (inReceptacle ?o1 ?r)
                    (exists (?o2 # object)
                        (and (not (= ?o1 ?o2)) {of.format("?o2")} {there}
                             (inReceptacle ?o2 ?r))))))))"""
    made = "".join(f"({word} ?o) " for word in _MADE.get(task_type, ()))
    return f"""(:goal
            (and (exists (?r # receptacle) (exists (?o # object)
                (and {made}{of.format("?o")} {there} (inReceptacle ?o ?r))))))"""
