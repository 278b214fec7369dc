"""`leafe explore ID --out DIR`: explore many tasks into a run folder; the same command resumes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from leafe_gym.agents.config import AgentConfig
from leafe_gym.budget import Budget
from leafe_gym.cli import interrupt
from leafe_gym.cli.options import (
    Attempts,
    Calls,
    Concurrency,
    Count,
    EnvId,
    JsonOut,
    Levels,
    MaxDepth,
    Model,
    ReflectEvery,
    Seed,
    Set,
    Split,
    env_kwargs,
    pick_tasks,
    tree_options,
)
from leafe_gym.cli.screen import out, plain, progress_bar, write_json
from leafe_gym.engines.explore import aexplore
from leafe_gym.evals.bench import METHODS, check_methods, method_agent, read_outcome
from leafe_gym.evals.meta import machine_meta
from leafe_gym.policies.base import policy as named_policy
from leafe_gym.store.run import Run
from leafe_gym.tree import Tree
from leafe_gym.types import Task

Method = Annotated[str, typer.Option("--method", help=f"One of: {', '.join(METHODS)}.")]


def command(
    env_id: EnvId,
    out_dir: Annotated[Path, typer.Option("--out", metavar="DIR", help="The run folder.")],
    count: Count = 100,
    split: Split = "train",
    method: Method = "tree",
    model: Model = "scripted",
    calls: Calls = 600,
    concurrency: Concurrency = 16,
    seed: Seed = 0,
    reflect_every: ReflectEvery = 10,
    max_depth: MaxDepth = 4,
    attempts: Attempts = 16,
    set_: Set = None,
    levels: Levels = None,
    export: Annotated[
        Path | None, typer.Option("--export", metavar="FILE", help="Trees as JSON lines, too.")
    ] = None,
    json_path: JsonOut = None,
) -> None:
    """Explore the first N tasks of a split. Killed at any moment, the same command goes on."""
    check_methods([method])
    tasks = pick_tasks(env_id, split, count, env_kwargs(set_, levels))
    config = AgentConfig(**tree_options(reflect_every, max_depth, attempts))
    agent = method_agent(method, named_policy(model), config, seed)
    with progress_bar() as bar:
        line = bar.add_task("exploring", total=len(tasks), note="")
        solved = 0

        def tick(_: Task, tree: Tree | None) -> None:
            nonlocal solved
            solved += tree is not None and tree.solved
            bar.update(line, advance=1, note=f"{solved} solved")

        run = interrupt.run(
            aexplore(
                agent, tasks, budget=Budget(calls=calls), out=out_dir, concurrency=concurrency,
                seed=seed, progress=tick,
            )
        )  # fmt: skip
    with run:
        report(run, export, json_path)


def report(run: Run, export: Path | None, json_path: str | None) -> None:
    """Print what a finished run holds."""
    outcome = read_outcome(run)
    if export is not None:
        run.export(export)
    if json_path:
        data = {
            "tasks": outcome.tasks,
            "solved": int(outcome.solved("calls", float("inf")).sum()),
            "failed_tasks": outcome.failed,
            "ledger": outcome.ledger.as_dict(),
            "fingerprint": run.fingerprint(),
            "meta": machine_meta(),
        }
        write_json(data, json_path)
    if json_path == "-":
        return
    table = Table(title=f"{run.folder}", show_header=False, box=SIMPLE_HEAD)
    won = int((outcome.solved_at["calls"] < float("inf")).sum())
    table.add_row("tasks", str(outcome.tasks))
    table.add_row("solved", str(won))
    table.add_row("not explored (environment failed)", str(outcome.failed))
    for name, value in outcome.ledger.as_dict().items():
        table.add_row(name.replace("_", " "), f"{value:,}")
    out.print(table)
    out.print(plain(f"Look at one: leafe view {run.folder} -n 0"))
