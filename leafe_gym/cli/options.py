"""Options that several verbs share, and what they mean."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from itertools import islice
from typing import Annotated, Any

import typer

from leafe_gym.envs import BUILTIN
from leafe_gym.envs.tasks import tasks as list_tasks
from leafe_gym.errors import UsageError
from leafe_gym.types import Json, Task

MOST = 10**9
"""Largest count an option takes: beyond it a number is a slip of the finger."""

EnvId = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help=f"Gymnasium id, such as {next(iter(BUILTIN))}; 'module:ID' imports module first.",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="KEY=VALUE",
        help="Keyword argument of the environment; VALUE is JSON or plain text. Repeatable.",
    ),
]
Levels = Annotated[
    str | None, typer.Option("--levels", metavar="FILE", help="Sokoban levels in Boxoban's format.")
]
Count = Annotated[int, typer.Option("-n", min=1, max=MOST, help="Number of tasks.")]
Split = Annotated[str, typer.Option("--split", help="train, val or test.")]
Seed = Annotated[
    int, typer.Option("--seed", min=0, max=2**63 - 1, help="All sampling seeds derive from it.")
]
Model = Annotated[str, typer.Option("--model", help="Policy: 'scripted', or a registered name.")]
Calls = Annotated[
    int,
    typer.Option(
        "--calls", min=2, max=MOST, help="Budget a task: environment steps + model calls."
    ),
]
Concurrency = Annotated[
    int, typer.Option("--concurrency", min=1, max=MOST, help="Attempts at the same time.")
]
JsonOut = Annotated[
    str | None, typer.Option("--json", metavar="PATH", help="Write the figures; '-' is stdout.")
]
ReflectEvery = Annotated[
    int,
    typer.Option(
        "--reflect-every", min=0, max=MOST, help="K, rounds; 0 reflects on failures only."
    ),
]
MaxDepth = Annotated[
    int, typer.Option("--max-depth", min=0, max=MOST, help="Rollbacks from the root.")
]
Attempts = Annotated[int, typer.Option("--attempts", min=1, max=MOST, help="Attempts per root.")]


def env_kwargs(given: Sequence[str] | None, levels: str | None = None) -> dict[str, Json]:
    """Keyword arguments from `KEY=VALUE` options.

    Raises:
        UsageError: if one is not of that form.
    """
    kwargs: dict[str, Json] = {"levels": levels} if levels else {}
    for text in given or ():
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"--set {text}: expected KEY=VALUE")
        if key in ("split", "env_id"):
            raise UsageError(f"--set {text}: give the {key} as --split or as the ID")
        try:
            kwargs[key] = json.loads(value)
        except ValueError:
            kwargs[key] = value
    return kwargs


def tree_options(reflect_every: int, max_depth: int, attempts: int) -> dict[str, Any]:
    """Fields of `AgentConfig`."""
    return {
        "reflect_every": reflect_every or None,
        "max_depth": max_depth,
        "attempts_per_root": attempts,
    }


def pick_tasks(env_id: str, split: str, count: int, kwargs: dict[str, Json]) -> list[Task]:
    """The first `count` tasks of a split.

    Raises:
        UsageError: for an unknown id (with the nearest ones), split or argument.
    """
    if ":" in env_id:
        import_module(env_id.partition(":")[0])
    found = list(islice(list_tasks(env_id, split, **kwargs), count))
    if not found:
        raise UsageError(f"{env_id} has no task in the split {split!r}")
    return found


def import_module(name: str) -> None:
    """Import the module that registers an environment.

    Raises:
        UsageError: if it cannot be imported.
    """
    try:
        importlib.import_module(name)
    except (ImportError, ValueError, TypeError) as error:
        raise UsageError(f"cannot import {name}: {error}") from error
