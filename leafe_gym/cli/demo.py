"""`leafe demo`: the main job on a laptop, without GPU, key or network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from leafe_gym.cli.bench import run_with_bars, show
from leafe_gym.cli.options import (
    Concurrency,
    Count,
    JsonOut,
    Levels,
    Seed,
    pick_tasks,
    tree_options,
)
from leafe_gym.cli.screen import out, plain, write_json
from leafe_gym.evals.bench import Bench
from leafe_gym.evals.meta import machine_meta
from leafe_gym.evals.plots import plot_bench
from leafe_gym.policies.base import policy
from leafe_gym.store.run import Run
from leafe_gym.tree import Tree
from leafe_gym.types import Json, Task
from leafe_gym.view.terminal import render_tree

ENV_ID = "leafe/Sokoban-v0"
KWARGS: dict[str, Json] = {"size": 7, "boxes": 3, "inner_walls": [0, 0], "max_steps": 60}
"""Chosen on the validation split; docs/design/2026-11-21-demo-setting.md says what was tried."""
CALLS = 600
METHODS = ("is", "ir", "tree")
REAL_LEVELS = 20


def command(
    out_dir: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Runs and pictures.")
    ] = Path("demo"),
    count: Count = 100,
    concurrency: Concurrency = 16,
    seed: Seed = 0,
    levels: Levels = None,
    json_path: JsonOut = None,
) -> None:
    """Independent sampling, iterative refinement and the rollback tree at one budget.

    A scripted, fallible player solves generated Sokoban levels; with --levels, 20 levels of a
    Boxoban file are reported apart.
    """
    tasks = pick_tasks(ENV_ID, "test", count, KWARGS)
    title = f"{len(tasks)} generated Sokoban levels, scripted player, {CALLS} calls a level"
    bench = _compare(out_dir / "generated", tasks, title, concurrency, seed)
    figures = {"generated": bench.as_dict()}
    if levels:
        real = pick_tasks(ENV_ID, "all", REAL_LEVELS, {"levels": levels, "max_steps": 120})
        name = f"{len(real)} Boxoban levels, scripted player, {CALLS} calls a level"
        figures["boxoban"] = _compare(out_dir / "boxoban", real, name, concurrency, seed).as_dict()
    _show_recovery(out_dir / "generated" / "tree")
    if json_path:
        write_json(figures | {"meta": machine_meta(seed=seed)}, json_path)


def _compare(folder: Path, tasks: list[Task], title: str, concurrency: int, seed: int) -> Bench:
    out.rule(title)
    bench = run_with_bars(
        policy("scripted"), tasks, METHODS, CALLS, folder, concurrency, seed,
        tree_options(10, 4, 16),
    )  # fmt: skip
    show(bench)
    picture = folder / "solved.png"
    plot_bench(bench, picture, title)
    out.print(plain(f"Picture: {picture}"))
    return bench


def _show_recovery(folder: Path) -> None:
    """One tree in which a branch won after its root had failed."""
    with Run.read(folder) as run:
        tree = next((tree for tree in run.trees() if _recovered(tree)), None)
    if tree is not None:
        out.rule("A failure, the way back, the fix")
        out.print(render_tree(tree, plain))


def _recovered(tree: Tree) -> bool:
    return tree.solved and 2 <= len(tree.branches) <= 8 and tree.branches[-1].parent is not None
