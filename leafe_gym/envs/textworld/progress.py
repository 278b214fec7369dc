"""What an episode changes in a running game of TextWorld, taken out and put back in place.

A game is a chain of layers: Python objects above the interpreter of the compiled game, or the one
that plays a `.json`. Each keeps a few values between steps; the texts and lists in them are made
anew at every step, so they can be shared, and only the interpreter's memory and the progression of
the quests, which are changed in place, are copied.

Does not hold: the layers' own `prev_state`, which every step overwrites before it reads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

_VALUES = (
    "_tracked_infos",
    "_last_action",
    "_previous_winning_policy",
    "_current_winning_policy",
    "_moves",
)
_READ_LATER = ("description", "inventory", "score", "moves", "_valid_commands")
"""Keys of the last game state that the next step reads."""


class Progress(NamedTuple):
    """What an episode has changed.

    Attributes:
        layers: for each layer, outermost first: its values, and its progression or None.
        state: what the next step reads of the last game state.
        machine: memory of the interpreter; None where there is none.
    """

    layers: tuple[tuple[dict[str, Any], Any], ...]
    state: dict[str, Any]
    machine: Any


def save(game: Any) -> Progress:
    """What the episode has changed so far; later steps leave the value alone."""
    layers = []
    machine = None
    for layer in _layers(game):
        held = vars(layer)
        progression = held.get("_game_progression")
        values = {name: _own(held[name]) for name in _VALUES if name in held}
        layers.append((values, progression and progression.copy()))
        machine = held["_jericho"].get_state() if "_jericho" in held else machine
    last = game.state
    return Progress(tuple(layers), {key: last[key] for key in _READ_LATER if key in last}, machine)


def load(game: Any, progress: Progress) -> None:
    """Go to what `save` took out of this game, or of another running the same file."""
    state = _state_type(game)(progress.state)
    for layer, (values, progression) in zip(_layers(game), progress.layers, strict=True):
        held = vars(layer)
        held.update({name: _own(value) for name, value in values.items()})
        if progression is not None:
            layer._game_progression = progression.copy()
        if "state" in held:
            layer.state = state
        if "_jericho" in held:
            held["_jericho"].set_state(progress.machine)


def _layers(game: Any) -> Iterator[Any]:
    layer = game
    while layer is not None:
        yield layer
        layer = vars(layer).get("_wrapped_env")


def _state_type(game: Any) -> Any:
    return type(game.state)


def _own(value: Any) -> Any:
    return list(value) if isinstance(value, list) else value
