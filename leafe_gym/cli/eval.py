"""`leafe eval ID`: Pass@k of plain rollouts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from leafe_gym.cli.options import (
    MOST,
    Concurrency,
    Count,
    EnvId,
    JsonOut,
    Levels,
    Model,
    Seed,
    Set,
    Split,
    env_kwargs,
    pick_tasks,
)
from leafe_gym.cli.screen import out, plain, progress_bar, write_json
from leafe_gym.errors import UsageError
from leafe_gym.evals.evaluate import evaluate
from leafe_gym.evals.meta import machine_meta
from leafe_gym.evals.plots import plot_pass
from leafe_gym.policies.base import policy as named_policy
from leafe_gym.tree import Tree
from leafe_gym.types import Task

Samples = Annotated[int, typer.Option("--samples", min=1, max=MOST, help="Rollouts a task.")]


def command(
    env_id: EnvId,
    out_dir: Annotated[Path, typer.Option("--out", metavar="DIR", help="Run and picture.")],
    count: Count = 100,
    split: Split = "test",
    samples: Samples = 128,
    ks: Annotated[str, typer.Option("--k", help="Comma-separated.")] = "1,4,16,64,128",
    model: Model = "scripted",
    concurrency: Concurrency = 64,
    seed: Seed = 0,
    set_: Set = None,
    levels: Levels = None,
    json_path: JsonOut = None,
) -> None:
    """Roll out a policy without reflection or rollback; Pass@k with its interval over tasks.

    Killed at any moment, the same command goes on.
    """
    wanted = [k for k in _numbers(ks) if k <= samples]
    tasks = pick_tasks(env_id, split, count, env_kwargs(set_, levels))
    with progress_bar() as bar:
        line = bar.add_task("rolling out", total=len(tasks), note="")

        def tick(_: Task, __: Tree | None) -> None:
            bar.update(line, advance=1)

        result = evaluate(
            named_policy(model), tasks, samples=samples, seed=seed, out=out_dir / "rollouts",
            concurrency=concurrency, progress=tick,
        )  # fmt: skip
    curve = result.pass_at(*wanted)
    picture = out_dir / "pass.png"
    plot_pass({model: curve}, picture, f"{env_id}, {len(tasks)} tasks")
    if json_path:
        figures = {str(k): interval.as_dict() for k, interval in curve.items()}
        meta = machine_meta(policy=model, seed=seed)
        write_json(result.as_dict() | {"pass": figures, "meta": meta}, json_path)
    if json_path != "-":
        table = Table(title=f"Pass@k, {samples} rollouts a task (95 % interval)", box=SIMPLE_HEAD)
        table.add_column("k", justify="right")
        table.add_column("solved")
        for k, interval in curve.items():
            table.add_row(str(k), str(interval))
        out.print(table)
        if result.errors or result.broken:
            out.print(plain(f"broken off: {result.errors} rollouts, {len(result.broken)} tasks"))
            out.print(plain("\n".join(result.reasons)))
        out.print(plain(f"Picture: {picture}"))


def _numbers(text: str) -> list[int]:
    try:
        found = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise UsageError(f"--k {text}: expected whole numbers, such as 1,16,128") from None
    if found[0] < 1:
        raise UsageError(f"--k {text}: expected numbers >= 1")
    return found
