"""Tables for generated games: rooms, receptacles, objects and their affordances.

The kinds, affordances and six task types are a subset of ALFRED's (Shridhar et al. 2020).
"""

from __future__ import annotations

TASK_TYPES = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)

ROOMS: dict[str, dict[str, tuple[int, int]]] = {
    "kitchen": {
        "Fridge": (1, 1),
        "Microwave": (1, 1),
        "SinkBasin": (1, 1),
        "CounterTop": (1, 2),
        "Cabinet": (2, 4),
        "Drawer": (1, 3),
        "DiningTable": (0, 1),
        "GarbageCan": (1, 1),
        "StoveBurner": (1, 2),
    },
    "living room": {
        "Sofa": (1, 1),
        "ArmChair": (0, 2),
        "CoffeeTable": (1, 1),
        "SideTable": (1, 2),
        "TVStand": (0, 1),
        "Shelf": (1, 3),
        "Drawer": (1, 2),
        "GarbageCan": (1, 1),
    },
    "bedroom": {
        "Bed": (1, 1),
        "Desk": (1, 1),
        "Dresser": (0, 1),
        "SideTable": (1, 2),
        "Shelf": (0, 2),
        "Drawer": (1, 3),
        "GarbageCan": (1, 1),
        "Safe": (0, 1),
    },
    "bathroom": {
        "SinkBasin": (1, 1),
        "CounterTop": (1, 1),
        "Toilet": (1, 1),
        "Cabinet": (1, 3),
        "Drawer": (0, 2),
        "Shelf": (0, 1),
        "GarbageCan": (1, 1),
    },
}
"""Room -> kind of receptacle -> minimum and maximum number."""

OPENABLE = frozenset(("Fridge", "Microwave", "Cabinet", "Drawer", "Safe"))

_TABLES = "CounterTop DiningTable CoffeeTable SideTable Desk Dresser TVStand Shelf"
_FOOD = "CounterTop DiningTable Fridge Microwave SinkBasin GarbageCan"
_WARE = "CounterTop DiningTable Cabinet Shelf SinkBasin"
_HOT_WARE = f"{_WARE} Microwave Fridge"
_CUTLERY = "CounterTop DiningTable Drawer SinkBasin"
_SMALL = f"{_TABLES} Drawer"
_READ = f"{_SMALL} Sofa ArmChair Bed"

OBJECTS: dict[str, tuple[str, str, str]] = {
    "Apple": ("heat cool clean slice", "kitchen", _FOOD),
    "Potato": ("heat cool clean slice", "kitchen", _FOOD),
    "Tomato": ("heat cool clean slice", "kitchen", _FOOD),
    "Egg": ("heat cool clean", "kitchen", _FOOD),
    "Bread": ("heat cool slice", "kitchen", "CounterTop DiningTable Fridge Microwave GarbageCan"),
    "Lettuce": ("cool clean slice", "kitchen", "CounterTop DiningTable Fridge SinkBasin"),
    "Mug": ("heat cool clean", "kitchen bedroom", _HOT_WARE + " Desk"),
    "Cup": ("heat cool clean", "kitchen", _HOT_WARE),
    "Plate": ("heat cool clean", "kitchen", _HOT_WARE),
    "Bowl": ("cool clean", "kitchen bedroom", _HOT_WARE + " Desk Dresser SideTable"),
    "Pan": ("cool clean", "kitchen", _WARE + " Fridge StoveBurner"),
    "Pot": ("cool clean", "kitchen", _WARE + " Fridge StoveBurner"),
    "Kettle": ("clean", "kitchen", "CounterTop DiningTable Cabinet StoveBurner SinkBasin"),
    "Fork": ("clean", "kitchen", _CUTLERY),
    "Spoon": ("clean", "kitchen", _CUTLERY),
    "Knife": ("clean", "kitchen", _CUTLERY),
    "Ladle": ("clean", "kitchen", _CUTLERY + " Cabinet"),
    "Spatula": ("clean", "kitchen", _CUTLERY),
    "DishSponge": ("clean", "kitchen", _CUTLERY + " Cabinet GarbageCan"),
    "SaltShaker": ("", "kitchen", "CounterTop DiningTable Cabinet Drawer Shelf"),
    "PepperShaker": ("", "kitchen", "CounterTop DiningTable Cabinet Drawer Shelf"),
    "WineBottle": ("cool", "kitchen", "CounterTop DiningTable Cabinet Fridge GarbageCan"),
    "SoapBar": ("clean", "bathroom", "CounterTop SinkBasin Toilet Cabinet Drawer GarbageCan"),
    "Cloth": ("clean", "bathroom", "CounterTop SinkBasin Cabinet Drawer GarbageCan"),
    "SoapBottle": ("", "bathroom kitchen", "CounterTop Toilet Cabinet Drawer Shelf GarbageCan"),
    "SprayBottle": ("", "bathroom", "CounterTop Toilet Cabinet Drawer Shelf GarbageCan"),
    "ToiletPaper": ("", "bathroom", "CounterTop Toilet Cabinet Drawer Shelf GarbageCan"),
    "Candle": ("", "bathroom", "CounterTop Toilet Cabinet Drawer Shelf"),
    "Book": ("", "living_room bedroom", _READ),
    "Newspaper": ("", "living_room", f"{_READ} GarbageCan"),
    "Laptop": ("", "living_room bedroom", "CoffeeTable SideTable Desk Dresser Sofa ArmChair Bed"),
    "Pillow": ("", "living_room bedroom", "Sofa ArmChair Bed"),
    "RemoteControl": ("", "living_room", _READ),
    "KeyChain": ("", "living_room bedroom", f"{_SMALL} Safe Sofa ArmChair"),
    "CreditCard": ("", "living_room bedroom", f"{_SMALL} Sofa ArmChair"),
    "Watch": ("", "living_room bedroom", f"{_SMALL} Safe"),
    "Statue": ("", "living_room", _TABLES),
    "Vase": ("", "living_room bedroom", f"{_TABLES} Safe"),
    "TissueBox": ("", "living_room bedroom", _SMALL),
    "CellPhone": ("", "bedroom", f"{_SMALL} Bed Safe"),
    "AlarmClock": ("", "bedroom", _TABLES),
    "CD": ("", "bedroom", f"{_SMALL} Safe GarbageCan"),
    "Pen": ("", "bedroom", f"{_SMALL} GarbageCan"),
    "Pencil": ("", "bedroom", f"{_SMALL} GarbageCan"),
}
"""Kind of object -> affordances, rooms it occurs in, kinds of receptacle it fits in."""

LAMP = "DeskLamp"
LAMP_STANDS = ("Desk", "SideTable")
NEEDS = {
    "pick_clean_then_place_in_recep": ("clean", "SinkBasin"),
    "pick_heat_then_place_in_recep": ("heat", "Microwave"),
    "pick_cool_then_place_in_recep": ("cool", "Fridge"),
}
"""Task type -> required affordance, and the receptacle that provides it."""


def affords(kind: str) -> tuple[str, ...]:
    """Affordances of a kind of object: heat, cool, clean, slice."""
    return tuple(OBJECTS[kind][0].split())


def fits(kind: str) -> tuple[str, ...]:
    """Kinds of receptacle that a kind of object fits in or on."""
    return tuple(OBJECTS[kind][2].split())


def kinds_in(room: str) -> list[str]:
    """Kinds of object that occur in a room."""
    return [kind for kind, (_, rooms, _) in OBJECTS.items() if room.replace(" ", "_") in rooms]


def rooms_for(task_type: str) -> list[str]:
    """Rooms in which a type of task is possible."""
    if task_type == "look_at_obj_in_light":
        return ["living room", "bedroom"]
    tool = NEEDS.get(task_type, ("", ""))[1]
    return [room for room, stands in ROOMS.items() if not tool or tool in stands]
