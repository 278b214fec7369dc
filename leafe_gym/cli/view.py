"""`leafe view RUN`: one tree of a run, readable."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from leafe_gym.cli.options import JsonOut
from leafe_gym.cli.screen import out, plain, write_json
from leafe_gym.store.records import tree_json
from leafe_gym.store.reader import RunReader
from leafe_gym.view.page import write_page
from leafe_gym.view.terminal import render_tree


def command(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    number: Annotated[
        int | None, typer.Option("-n", min=0, help="Number of the task; without it, a list.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="All trees as one HTML page.")
    ] = None,
    json_path: JsonOut = None,
) -> None:
    """Show the tree of one task, list the tasks of a run, or write all trees as a page."""
    with RunReader(folder) as run:
        if html is not None:
            written = write_page(html, f"Run {folder.resolve().name}", run.trees())
            out.print(plain(f"{written.shown} trees, {written.nbytes:,} bytes: {html}"))
            if written.left_out:
                out.print(f"{written.left_out} trees left out for size; the figures count them")
            return
        if number is None:
            out.print(listing(run))
            return
        tree = run.tree(number)
    if json_path:
        write_json(tree_json(tree), json_path)
    if json_path != "-":
        out.print(render_tree(tree, plain))


def listing(run: RunReader) -> Table:
    """All tasks of a run, a line each."""
    table = Table("-n", "task", "outcome", "calls", "calls until solved", box=SIMPLE_HEAD)
    done = {idx: (error, result) for idx, error, result in run.outcomes()}
    for idx, task in enumerate(run.tasks()):
        error, result = done.get(idx, ("", {}))
        first = result.get("solved_at")
        outcome = error or ("solved" if first else result.get("stopped", "open"))
        calls = str(result["spent"]["calls"]) if "spent" in result else ""
        table.add_row(
            str(idx), plain(task.id), plain(outcome), calls, str(first["calls"]) if first else ""
        )
    return table
