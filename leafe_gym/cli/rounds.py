"""`leafe rounds N ID --out DIR`: explore, distil, train, and again with the trained model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.progress import Progress
from rich.table import Table

from leafe_gym.agents.config import AgentConfig
from leafe_gym.budget import Budget
from leafe_gym.cli.generated import Flags, Given, with_options
from leafe_gym.cli.models import ModelOptions, make_policy
from leafe_gym.cli.options import (
    LIMITS,
    MOST,
    Concurrency,
    Count,
    Data,
    EnvId,
    JsonOut,
    Method,
    Set,
    Workers,
    env_kwargs,
    given_budget,
    pick_tasks,
    use_current_folder,
)
from leafe_gym.cli.screen import out, plain, progress_bar, write_json
from leafe_gym.distill.data.config import RowConfig
from leafe_gym.distill.training.config import TrainConfig
from leafe_gym.errors import UsageError
from leafe_gym.evals.config import EvalConfig
from leafe_gym.evals.meta import machine_meta
from leafe_gym.evals.rounds.config import RoundsConfig
from leafe_gym.evals.rounds.loop import RoundsReport, RoundStages, run_rounds
from leafe_gym.exploration.config import ExploreConfig
from leafe_gym.policies.base import Policy
from leafe_gym.policies.naming import find_weights

SEEDLESS = Flags(without=("seed",))
TRAINABLE = (
    "rounds train the model that acts: name a folder or hub name as --model, or with --base-url "
    "its weights as --weights"
)


@with_options
def command(
    rounds: Annotated[int, typer.Argument(metavar="N", min=1, max=MOST, help="Number of rounds.")],
    env_id: EnvId,
    out_dir: Annotated[Path, typer.Option("--out", metavar="DIR", help="All runs and models.")],
    count: Count = 100,
    validation: Annotated[
        int,
        typer.Option(
            "--validation",
            metavar="N",
            min=1,
            max=MOST,
            help='Tasks of the split "val" on which every round\'s model is evaluated.',
        ),
    ] = 50,
    method: Method = "tree",
    concurrency: Concurrency = 16,
    workers: Workers = 0,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            metavar="PATH",
            help="With --base-url: folder or hub name of the served model, to train adapters for.",
        ),
    ] = None,
    set_: Set = None,
    data: Data = None,
    json_path: JsonOut = None,
    *,
    models: ModelOptions,
    budget: Annotated[Given, Budget, LIMITS],
    agent: AgentConfig,
    explore: Annotated[ExploreConfig, SEEDLESS],
    rows: Annotated[RowConfig, Flags(without=("seed", "splits", "teacher"))],
    train: Annotated[TrainConfig, SEEDLESS],
    config: RoundsConfig,
) -> None:
    """Explore the training split, distil, train, evaluate on the validation split; N times.

    Killed at any moment, the same command resumes; a larger N adds rounds.
    """
    limits = given_budget(budget)
    use_current_folder(agent.prompts if isinstance(agent.prompts, str) else "")
    base = _base(models, weights, train)
    kwargs = env_kwargs(set_, data)
    stages = RoundStages(
        budget=limits, method=method, agent=agent, explore=explore,
        rows=rows.replace(teacher=train.objective == "kl"), train=train,
        evaluate=EvalConfig(
            prompts=agent.prompts, temperature=agent.temperature, top_p=agent.top_p,
            top_k=agent.top_k, max_tokens=agent.max_tokens, backend=explore.backend,
            env_timeout=explore.env_timeout,
        ),
        concurrency=concurrency, workers=workers, policy=_policy_maker(models, base),
    )  # fmt: skip
    with progress_bar() as bar:
        report = run_rounds(
            base,
            pick_tasks(env_id, "train", count, kwargs),
            pick_tasks(env_id, "val", validation, kwargs),
            count=rounds, stages=stages, out=out_dir, config=config, progress=_ticking(bar),
        )  # fmt: skip
    if json_path:
        write_json(report.as_dict() | {"meta": machine_meta(seed=config.seed)}, json_path)
    if json_path != "-":
        show(report)


def _base(models: ModelOptions, weights: str | None, train: TrainConfig) -> str:
    """The model that the first training starts from.

    Raises:
        UsageError: if there is none.
    """
    if models.base_url:
        if weights is None or not train.lora:
            raise UsageError(f"{TRAINABLE} and --lora: a server takes adapters only")
        return find_weights(weights)
    if weights is not None:
        raise UsageError("--weights is for a model behind --base-url")
    if models.model == "scripted" or models.adapter is not None:
        raise UsageError(TRAINABLE)
    return find_weights(models.model)


def _policy_maker(models: ModelOptions, base: str) -> Callable[[str], Policy]:
    def make(model: str) -> Policy:
        if not models.base_url:
            return make_policy(models.replace(model=model))
        return make_policy(models if model == base else models.replace(adapter=model))

    return make


def _ticking(bar: Progress) -> Callable[[str, int | None], Callable[..., None]]:
    def stage(title: str, total: int | None) -> Callable[..., None]:
        line = bar.add_task(title, total=total, note="")

        def tick(*given: Any) -> None:
            if total is None:  # a training, which may go on from a checkpoint
                bar.update(line, completed=given[0]["step"], total=given[1])
            else:
                bar.advance(line)

        return tick

    return stage


def show(report: RoundsReport) -> None:
    """Print a line a round, and why no further one was made."""
    table = Table(title="validation tasks (95 % intervals)", box=SIMPLE_HEAD)
    k = report.healths[0].k
    for name in ("round", "Pass@1", f"Pass@{k}", f"recovery@{k}", "entropy", "distinct", "rows"):
        table.add_column(name, justify="right")
    for one in report.healths:
        rows = report.rows[one.round - 1] if one.round else None
        table.add_row(
            str(one.round), str(one.pass_1), str(one.pass_k), _or_dash(one.recovery),
            f"{one.entropy:.2f}", "-" if one.distinct is None else f"{one.distinct:.2f}",
            _or_dash(rows),
        )  # fmt: skip
    out.print(table)
    if report.no_recovery:
        out.print(plain(f"recovery@{k}: {report.no_recovery}"))
    for number, reason in report.alarms.items():
        out.print(plain(f"round {number}: {reason}", "yellow"))
    if report.stopped:
        out.print(plain(f"Stopped: {report.stopped}", "yellow"))
    out.print(plain(f"Highest Pass@{k}: round {report.best.round}, {report.best.model}"))


def _or_dash(value: object) -> str:
    return "-" if value is None else str(value)
