"""Which games are generated: the arguments, checked and normalized."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from leafe_gym._optional import require
from leafe_gym.arguments import whole_number
from leafe_gym.envs.tasks import check_split, hash_of, json_kwargs
from leafe_gym.envs.textworld.jericho_warnings import no_unknown_story_warning
from leafe_gym.envs.textworld.shared_parsers import serialize_parsers
from leafe_gym.errors import UsageError
from leafe_gym.types import Json

FORMS = ("z8", "json")


def load_textworld(module: str = "") -> Any:
    """The package `textworld`, or one of its modules.

    Raises:
        MissingExtra: if it is not installed.
    """
    found = require(f"textworld.{module}" if module else "textworld", "textworld", "TextWorld")
    serialize_parsers()
    return found


@dataclass(frozen=True, slots=True)
class GameSpec:
    """Generated games that differ only in their seed.

    Attributes:
        rooms: number of rooms, >= 1; not for challenges.
        objects: number of objects, >= 1; not for challenges.
        quest_length: number of actions of the quest, >= 1; not for challenges.
        challenge: one of TextWorld's families of games, such as "tw-cooking", or None.
        settings: of the challenge; missing ones have TextWorld's defaults.
        split: the only split whose games are generated, or None for any.
        form: "z8" is a compiled game with prose; "json" needs no compiler and has no prose.
    """

    rooms: int = 5
    objects: int = 10
    quest_length: int = 5
    challenge: str | None = None
    settings: Mapping[str, Json] | None = None
    split: str | None = None
    form: Literal["z8", "json"] = "z8"

    def __post_init__(self) -> None:
        for name in ("rooms", "objects", "quest_length"):
            whole_number(name, getattr(self, name), 1)
        if self.challenge is not None and not isinstance(self.challenge, str):
            raise UsageError(f"challenge={self.challenge!r}: give a name, or None")
        if self.settings is not None and not isinstance(self.settings, Mapping):
            raise UsageError(f"settings={self.settings!r}: give a dict, or None")
        if self.form not in FORMS:
            raise UsageError(f"form={self.form!r}: use 'z8' (prose) or 'json' (no compiler)")
        check_split(self.split, optional=True)
        if self.settings and self.challenge is None:
            raise UsageError("settings= needs challenge= as well")

    def key(self, seed: int) -> str:
        """A name for a seed's game; it differs for other specs and versions of TextWorld."""
        version = load_textworld().__version__
        return f"{hash_of([version, self.as_json(), seed], size=8)}-{seed}"

    def as_json(self) -> dict[str, Json]:
        """The arguments that determine the content of games; `form` does not."""
        common = {"split": self.split}
        if self.challenge is not None:
            return common | {"challenge": self.challenge, "settings": self.challenge_settings()}
        sizes = {"rooms": self.rooms, "objects": self.objects, "quest_length": self.quest_length}
        return common | sizes

    def challenge_settings(self) -> dict[str, Json]:
        """All settings of the challenge, defaults included.

        Raises:
            UsageError: if the challenge or a setting is unknown.
        """
        known = load_textworld("challenges").CHALLENGES
        if self.challenge not in known:
            names = ", ".join(sorted(known))
            raise UsageError(f"challenge={self.challenge!r}: use one of {names}, or None")
        parser = ArgumentParser(add_help=False)
        known[self.challenge][2](parser)
        # Read from the parser's actions, because required settings cannot be parsed from "".
        default = {action.dest: action.default for action in parser._actions}
        given = json_kwargs(self.settings or {})
        if unknown := given.keys() - default.keys():
            known_settings = ", ".join(sorted(default))
            raise UsageError(
                f"{self.challenge} has no setting {', '.join(sorted(unknown))}; it has "
                f"{known_settings}"
            )
        merged = {**default, **given}
        for action in parser._actions:
            value = merged[action.dest]
            choices = f"; use one of {list(action.choices)}" if action.choices else ""
            if action.required and value is None:
                raise UsageError(
                    f"{self.challenge} needs settings={{{action.dest!r}: ...}}{choices}"
                )
            if action.choices and value is not None and value not in action.choices:
                raise UsageError(f"{self.challenge}: {action.dest}={value!r}{choices}")
        return json_kwargs(merged)

    def build(self, seed: int) -> Any:
        """Generate the game of a seed.

        Raises:
            UsageError: if TextWorld cannot generate it.
        """
        options = load_textworld().GameOptions()
        options.seeds = seed
        if self.challenge is None:
            options.nb_rooms, options.nb_objects = self.rooms, self.objects
            options.quest_length = self.quest_length
            make = partial(load_textworld("generator").make_game, options)
        else:
            family = load_textworld("challenges").CHALLENGES[self.challenge][1]
            make = partial(family, {**self.challenge_settings(), "seed": seed}, options)
        try:
            with no_unknown_story_warning():  # a challenge may play its game
                return make()
        except Exception as error:  # the generator raises many kinds
            raise UsageError(
                f"TextWorld cannot generate a game with {self.as_json()} and seed {seed}: {error}; "
                "use other sizes or settings"
            ) from error
