"""`leafe bench ID --out DIR`: methods side by side at one budget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from leafe_gym.agents.config import AgentConfig
from leafe_gym.budget import UNITS
from leafe_gym.cli import interrupt
from leafe_gym.cli.options import (
    Attempts,
    Calls,
    Concurrency,
    Count,
    Data,
    EnvId,
    JsonOut,
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
from leafe_gym.evals.bench import METHODS, TITLES, Bench, check_methods, run_bench
from leafe_gym.evals.intervals import verdict
from leafe_gym.evals.meta import machine_meta
from leafe_gym.evals.plots import plot_bench
from leafe_gym.policies.base import Policy
from leafe_gym.policies.base import policy as named_policy
from leafe_gym.tree import Tree
from leafe_gym.types import Task

Methods = Annotated[
    str, typer.Option("--methods", help=f"Comma-separated, of: {', '.join(METHODS)}.")
]


_WORDS = {"calls": "calls", "tokens_total": "tokens", "tokens_uncached": "uncached tokens"}


def command(
    env_id: EnvId,
    out_dir: Annotated[Path, typer.Option("--out", metavar="DIR", help="Runs and picture.")],
    count: Count = 100,
    split: Split = "test",
    methods: Methods = "is,ir,tree",
    model: Model = "scripted",
    calls: Calls = 600,
    concurrency: Concurrency = 16,
    seed: Seed = 0,
    reflect_every: ReflectEvery = 10,
    max_depth: MaxDepth = 4,
    attempts: Attempts = 16,
    set_: Set = None,
    data: Data = None,
    json_path: JsonOut = None,
) -> None:
    """Compare methods on the same tasks: solved fraction over the budget, and each one's ledger."""
    names = [name.strip() for name in methods.split(",")]
    check_methods(names)
    tasks = pick_tasks(env_id, split, count, env_kwargs(set_, data))
    options = tree_options(reflect_every, max_depth, attempts)
    bench = run_with_bars(
        named_policy(model), tasks, names, calls, out_dir, concurrency, seed, options
    )
    picture = out_dir / "solved.png"
    plot_bench(bench, picture, f"{env_id}, {len(tasks)} tasks, {model}")
    if json_path:
        write_json(bench.as_dict() | {"meta": machine_meta(policy=model, seed=seed)}, json_path)
    if json_path != "-":
        show(bench)
        out.print(plain(f"Picture: {picture}"))


def run_with_bars(
    policy: Policy,
    tasks: Sequence[Task],
    methods: Sequence[str],
    calls: int,
    folder: Path,
    concurrency: int,
    seed: int,
    tree: dict[str, Any],
) -> Bench:
    """`run_bench`, with a progress bar per method."""
    with progress_bar() as bar:
        lines = {
            name: bar.add_task(TITLES[name], total=len(tasks), note="0 solved") for name in methods
        }
        solved = dict.fromkeys(methods, 0)

        def tick(name: str, _: Task, done: Tree | None) -> None:
            solved[name] += done is not None and done.solved
            bar.update(lines[name], advance=1, note=f"{solved[name]} solved")

        return interrupt.run(
            run_bench(
                policy, tasks, methods=methods, interactions=calls, out=folder,
                config=AgentConfig(**tree), concurrency=concurrency, seed=seed, progress=tick,
            )
        )  # fmt: skip


def show(bench: Bench) -> None:
    """The tables a person reads."""
    out.print(_solved(bench))
    out.print(_ledger(bench))
    for gap in _gaps(bench):
        out.print(plain(gap), soft_wrap=True)


def _solved(bench: Bench) -> Table:
    table = Table(title="Tasks solved within a budget (95 % interval)", box=SIMPLE_HEAD)
    table.add_column("budget a task")
    for name in bench.outcomes:
        table.add_column(TITLES[name], justify="right", min_width=17)
    rows = [("calls", float(bench.interactions // part)) for part in (8, 4, 2, 1)]
    rows += [(unit, bench.level(unit)) for unit in UNITS if unit != "calls"]
    for unit, at in rows:
        cells = (outcome.fraction(unit, at) for outcome in bench.outcomes.values())
        label = f"{at:,.0f} {_WORDS[unit]}"
        table.add_row(label, *(f"{i.mean:.2f} [{i.low:.2f}, {i.high:.2f}]" for i in cells))
    return table


def _ledger(bench: Bench) -> Table:
    table = Table(title="What each method spent, all tasks together", box=SIMPLE_HEAD)
    table.add_column("")
    for name in bench.outcomes:
        table.add_column(TITLES[name], justify="right")
    ledgers = [outcome.ledger.as_dict() for outcome in bench.outcomes.values()]
    shown = [
        *UNITS,
        "steps",
        "act_calls",
        "reflect_calls",
        "attempts",
        "rollbacks",
        "replayed_steps",
        "overhead_calls",
        "overhead_retries",
        "overhead_attempts",
    ]
    for row in shown:
        table.add_row(row.replace("_", " "), *(f"{ledger[row]:,}" for ledger in ledgers))
    sources = (", ".join(outcome.token_sources) for outcome in bench.outcomes.values())
    table.add_row("tokens counted by", *sources)
    return table


def _gaps(bench: Bench) -> list[str]:
    lines = []
    for unit in UNITS if "tree" in bench.outcomes else ():
        for other in bench.outcomes:
            if other == "tree":
                continue
            gap = bench.difference("tree", other, unit)
            at = f"{bench.level(unit):,.0f} {_WORDS[unit]}"
            said = {"more": "solves more", "fewer": "solves fewer"}.get(verdict(gap), "undecided")
            lines.append(f"tree - {TITLES[other]} at {at}: {gap}: {said}")
    return lines
