"""`leafe merge OUT IN...`: one run of several that explored different tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from leafe_gym.cli.screen import out, plain
from leafe_gym.exploration.shards import merge


def command(
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The folder of the new run.")],
    parts: Annotated[list[Path], typer.Argument(metavar="IN...", help="Run folders.")],
) -> None:
    """Make one run of several; parts made with --shard come out as the undivided run."""
    found = merge(target, parts)
    left = found.tasks - found.finished
    note = (
        f", {left} still open: the command that explored them goes on in {target}" if left else ""
    )
    out.print(plain(f"{target}: {found.tasks} tasks, {found.finished} finished{note}"))
