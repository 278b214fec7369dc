"""Options that come from configuration classes: flags, help, values, and refusals by flag name."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from pydantic import Field, SkipValidation, model_validator
from typer.testing import CliRunner

from leafe_gym.cli.app import guarded
from leafe_gym.cli.generated import Flags, Given, config_options, split_docstring, with_options
from leafe_gym.config import Config, FiniteFloat, NonNegativeInt, PositiveInt, RandomSeed


class Part:
    """Something that has no form as text."""


class Trip(Config):
    """Where to."""

    town: str = "Rome"
    """Name of
    the town."""
    stops: PositiveInt | None = 3
    """Stops on the way; None for none."""
    speed: FiniteFloat = 1.0
    """Speed in km/h."""
    weight: Annotated[float, Field(gt=0, le=2)] | None = None
    """In tonnes."""
    by: Literal["train", "bus"] = "train"
    """Means of transport."""
    level: Literal[1, 2, "all"] = 1
    """Data."""
    return_ticket: bool = False
    """Whether to come back."""
    insured: bool | None = None
    """None asks at the counter."""
    friends: tuple[str, ...] = ()
    """Who comes along."""
    extra: dict[str, Any] | None = None
    """Further fields."""
    part: SkipValidation[str | Part] = "wheel"
    """A part, by name or as an object."""
    only_objects: SkipValidation[Part | None] = None
    """No text stands for it."""
    seed: RandomSeed = 0
    """Seed."""
    low: NonNegativeInt = 0
    """Not above `stops`."""

    @model_validator(mode="after")
    def _order(self) -> Trip:
        if self.stops is not None and self.low > self.stops:
            raise ValueError("low must not be above stops")
        return self


seen: list[Any] = []


def invoke(*arguments: str, verb: Any = None) -> tuple[int, str]:
    @with_options
    def go(
        where: Annotated[str, typer.Argument(metavar="WHERE")],
        folder: Path = Path("out"),
        count: Annotated[int, typer.Option("-n")] = 5,
        *,
        trip: Annotated[Trip, Flags(without=("seed",), flags={"by": "--means"})],
    ) -> None:
        """Go somewhere.

        Args:
            where: start of
                the trip.
            folder: where notes go.
            count: how often.
        """
        seen.append((where, folder, count, trip))

    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
    app.command()(guarded(verb or go))
    seen.clear()
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.output


def test_help_shows_docstrings_limits_choices_and_defaults() -> None:
    code, text = invoke("--help")
    shown = " ".join(text.split())
    assert code == 0
    for part in (
        "Go somewhere.",
        "start of the trip.",
        "where notes go.",
        "how often.",
        "--town TEXT Name of the town. [default: Rome]",
        "--stops INTEGER|none Stops on the way; None for none. [1 or more; default: 3]",
        "--weight NUMBER|none In tonnes. [more than 0; at most 2; default: none]",
        "--means train|bus Means of transport. [default: train]",
        "--return-ticket / --no-return-ticket Whether to come back. [default: off]",
        "--friends TEXT Who comes along.",
        "--extra KEY=VALUE",
        "--part TEXT",
    ):
        assert part in shown
    for part in ("--only-objects", "--seed", "--by", "Args:"):
        assert part not in shown


def test_without_options_the_defaults_hold() -> None:
    assert invoke("here") == (0, "")
    assert seen == [("here", Path("out"), 5, Trip())]


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        ("--town Oslo", "town", "Oslo"),
        ("--town none", "town", "none"),
        ("--stops 7", "stops", 7),
        ("--stops none", "stops", None),
        ("--speed 2", "speed", 2.0),
        ("--weight 1e-3", "weight", 0.001),
        ("--means bus", "by", "bus"),
        ("--level 2", "level", 2),
        ("--level all", "level", "all"),
        ("--return-ticket", "return_ticket", True),
        ("--no-return-ticket", "return_ticket", False),
        ("--insured", "insured", True),
        ("--no-insured", "insured", False),
        ("--friends Ann --friends Bo", "friends", ("Ann", "Bo")),
        ('--extra a=1 --extra b="x" --extra c=[2]', "extra", {"a": 1, "b": "x", "c": [2]}),
        ("--part hub", "part", "hub"),
    ],
)
def test_values(arguments: str, field: str, value: Any) -> None:
    assert invoke("here", *arguments.split()) == (0, "")
    assert getattr(seen[0][3], field) == value


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--stops 0", "--stops 0: expected a whole number, 1 or more, or none"),
        ("--stops 1.5", "--stops 1.5: expected a whole number"),
        ("--stops ''", "--stops '': expected a whole number"),
        ("--speed -1", "--speed -1: expected a finite number, 0 or more"),
        ("--speed nan", "--speed nan: expected a finite number"),
        ("--speed none", "--speed none: expected"),
        ("--weight 0", "--weight 0: expected a finite number, more than 0, at most 2, or none"),
        ("--weight inf", "--weight inf: expected"),
        ("--means car", "--means car: expected one of train, bus"),
        ("--level 3", "--level 3: expected one of 1, 2, all"),
        ("--extra a", "--extra a: expected KEY=VALUE"),
        ("--extra 1a=2", "--extra 1a=2: expected KEY=VALUE"),
        ("--low 4", "low must not be above stops"),
        ("--seed 1", "--seed"),
        ("--folder", "--folder"),
        ("-n x", "-n"),
    ],
)
def test_wrong_values_are_refused_by_the_name_of_the_option(arguments: str, said: str) -> None:
    code, text = invoke("here", *arguments.split())
    assert code == 2
    assert said in " ".join(text.split())
    assert not seen


def test_given_values_alone() -> None:
    @with_options
    def go(trip: Annotated[Given, Trip, Flags(without=("town",))]) -> None:
        """Go."""
        seen.append(dict(trip))

    assert invoke(verb=go)[0] == 0
    assert seen == [{}]
    assert invoke("--stops", "none", "--means", "bus", verb=go)[0] == 2  # no renaming here
    assert invoke("--stops", "none", "--by", "bus", verb=go)[0] == 0
    assert seen == [{"stops": None, "by": "bus"}]


def test_every_field_with_a_form_as_text_has_one_option() -> None:
    flags = [option.flag for option in config_options(Trip)]
    assert len(flags) == len(set(flags)) == len(Trip.model_fields) - 1
    assert all(re.fullmatch(r"--[a-z-]+", flag) for flag in flags)


@pytest.mark.parametrize(
    ("text", "head", "arguments"),
    [
        ("", "", {}),
        ("One.", "One.", {}),
        ("One.\n\n    Two.\n\n    Args:\n        a: b: c.\n        d: e.\n    ", "One.\n\nTwo.",
         {"a": "b: c.", "d": "e."}),
        ("One.\n\nArgs:\n    a: x\n        y\n\n    b: z\n\nRaises:\n    E: no.\n", "One.",
         {"a": "x y", "b": "z"}),
    ],
)  # fmt: skip
def test_docstrings(text: str, head: str, arguments: dict[str, str]) -> None:
    assert split_docstring(text) == (head, arguments)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT])
def test_a_full_disk_is_one_line(number: int) -> None:
    def go(out_dir: Path = Path("out")) -> None:
        raise OSError(number, "no more", "cells/a.json")

    code, text = invoke(verb=go)
    assert code == 1
    assert "cannot write:" in text
    assert "cells/a.json" in text
    assert "resumes it" in text


def test_another_error_of_the_system_is_not_taken_for_a_full_disk() -> None:
    def go() -> None:
        raise OSError(errno.EBADF, "a mistake in the program")

    assert "cannot write" not in invoke(verb=go)[1]
