"""The part of a running TextWorld game that an episode changes: saved and restored in place.

A game is a chain of layers: Python objects above the interpreter of the compiled game, or above the
player of a `.json`. Each layer keeps a few values between steps. Texts and lists among them are
created anew at every step, so they can be shared; the interpreter's memory and the progression of
the quests are changed in place, so they are copied.

The layers' `prev_state` is not saved, because every step overwrites it before reading it.
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
    """A saved state.

    Attributes:
        layers: (values, quest progression or None) of each layer, outermost first.
        state: the part of the last game state that the next step reads.
        machine: memory of the interpreter; None for a `.json`.
    """

    layers: tuple[tuple[dict[str, Any], Any], ...]
    state: dict[str, Any]
    machine: Any


def save(game: Any) -> Progress:
    """Save the state; later steps do not change the returned value."""
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
    """Restore what `save` returned for this game, or for another one with the same file."""
    state = _state_type(game)(progress.state)
    for layer, (values, progression) in zip(_layers(game), progress.layers, strict=True):
        held = vars(layer)
        held.update({name: _own(value) for name, value in values.items()})
        if progression is not None:
            layer._game_progression = progression.copy()
        if "state" in held:
            layer.state = state
        if "_jericho" in held:
            load_machine(held["_jericho"], progress.machine)


def load_machine(interpreter: Any, machine: Any) -> None:
    """Restore the memory of a Jericho interpreter, also of one that has stopped at an error."""
    if interpreter._emulator_halted():
        interpreter.reset()  # its states do not contain that it has stopped
    interpreter.set_state(machine)


def _layers(game: Any) -> Iterator[Any]:
    layer = game
    while layer is not None:
        yield layer
        layer = vars(layer).get("_wrapped_env")


def _state_type(game: Any) -> Any:
    return type(game.state)


def _own(value: Any) -> Any:
    return list(value) if isinstance(value, list) else value
