"""`leafe eval ID`: Pass@k of plain rollouts."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.progress import Progress
from rich.table import Table

from leafe_gym.cli.generated import with_options
from leafe_gym.cli.models import ModelOptions, make_policy
from leafe_gym.cli.options import (
    MOST,
    Concurrency,
    Count,
    Data,
    EnvId,
    JsonOut,
    Ray,
    Seed,
    Set,
    Split,
    Workers,
    env_kwargs,
    pick_tasks,
    use_current_folder,
)
from leafe_gym.cli.screen import out, plain, progress_bar, write_json
from leafe_gym.distill.data.provenance import without_paths
from leafe_gym.errors import UsageError
from leafe_gym.evals.config import EvalConfig
from leafe_gym.evals.evaluate import Evaluation, evaluate
from leafe_gym.evals.intervals import Interval
from leafe_gym.evals.meta import machine_meta
from leafe_gym.evals.plots import plot_pass
from leafe_gym.evals.recovery import evaluate_recovery, recovery_pool
from leafe_gym.store.reader import finished_before
from leafe_gym.tree import Tree
from leafe_gym.types import Json, Task

Curve = dict[int, Interval]
KS = (1, 4, 16, 64, 128)
"""Pass@k is shown for these by default."""
Samples = Annotated[int, typer.Option("--samples", min=1, max=MOST, help="Rollouts a task.")]


@with_options
def command(
    env_id: EnvId,
    out_dir: Annotated[Path, typer.Option("--out", metavar="DIR", help="Run and picture.")],
    count: Count = 100,
    split: Split = "test",
    samples: Samples = 128,
    ks: Annotated[
        str | None,
        typer.Option(
            "--k",
            metavar="K,K,...",
            help="Comma-separated, each at most --samples. "
            f"[default: those of {', '.join(map(str, KS))} that are]",
        ),
    ] = None,
    recover_from: Annotated[
        str,
        typer.Option(metavar="MODEL", help="Also recovery@k, from the mistakes of this policy."),
    ] = "",
    eval_results: Annotated[
        str | None,
        typer.Option(
            metavar="OWNER/NAME",
            help="Write .eval_results/*.yaml into the folder of --model (or --adapter), as figures "
            "of this benchmark data set on the Hugging Face hub.",
        ),
    ] = None,
    concurrency: Concurrency = 64,
    workers: Workers = 0,
    ray: Ray = None,
    seed: Seed = 0,
    set_: Set = None,
    data: Data = None,
    json_path: JsonOut = None,
    *,
    models: ModelOptions,
    config: EvalConfig,
) -> None:
    """Roll out a policy without reflection or experiences; Pass@k with its interval over tasks.

    Killed at any moment, the same command resumes.
    """
    wanted = [k for k in KS if k <= samples] if ks is None else _numbers(ks, samples)
    use_current_folder(config.prompts if isinstance(config.prompts, str) else "")
    beside = _model_folder(models, eval_results)
    policy = make_policy(models)
    base = make_policy(ModelOptions(model=recover_from), "recover_from") if recover_from else None
    tasks = pick_tasks(env_id, split, count, env_kwargs(set_, data))
    every: dict[str, Any] = {
        "seed": seed, "concurrency": concurrency, "workers": workers, "ray": ray, "config": config,
    }  # fmt: skip
    with progress_bar() as bar:
        found = {
            "Pass": evaluate(
                policy, tasks, samples=samples, out=out_dir / "rollouts",
                progress=_ticking(bar, "rolling out", len(tasks), out_dir / "rollouts"), **every,
            )
        }  # fmt: skip
        if base is not None:
            pool = recovery_pool(
                base, tasks, out=out_dir / "pool",
                progress=_ticking(bar, "mistakes of the base", len(tasks), out_dir / "pool"),
                **every,
            )  # fmt: skip
            pool.save(out_dir / "pool.json")
            found["recovery"] = evaluate_recovery(
                policy, pool, samples=samples, out=out_dir / "recovery",
                progress=_ticking(bar, "recovering", len(pool.mistakes), out_dir / "recovery"),
                **every,
            )  # fmt: skip
    curves = {name: result.pass_at(*wanted) for name, result in found.items()}
    picture = out_dir / "pass.png"
    titles = {f"{name}@k of {models.model}": curve for name, curve in curves.items()}
    plot_pass(titles, picture, f"{env_id}, {len(tasks)} tasks")
    written: Path | None = None
    if beside is not None and eval_results is not None:
        from leafe_gym.plugs.huggingface import write_results

        about = _how(env_id, env_kwargs(set_, data), len(tasks), samples, seed, config)
        written = write_results(beside, eval_results, env_id, split, curves, about)
    if json_path:
        write_json(
            _as_json(found, curves) | {"meta": machine_meta(policy=policy.name, seed=seed)},
            json_path,
        )
    if json_path != "-":
        for name, curve in curves.items():
            _show(name, curve, samples)
            if lost := found[name].context:
                text = f"{lost} of {found[name].samples.sum()} rollouts filled the model's context "
                text += "window and count as lost: a smaller --max-tokens leaves more of it"
                out.print(plain(text, "yellow"))
        out.print(plain(f"Picture: {picture}"))
        if written is not None:
            out.print(plain(f"Results: {written}"))


def _how(
    env_id: str, kwargs: dict[str, Json], tasks: int, samples: int, seed: int, config: EvalConfig
) -> str:
    """How figures were made, in one line beside them; folders are left out."""
    arguments = without_paths(json.dumps(kwargs)) if kwargs else "default arguments"
    return (
        f"leafe-gym {version('leafe-gym')}, {env_id} with {arguments}, {tasks} tasks, "
        f"{samples} rollouts each, seed {seed}, temperature {config.temperature}, without "
        "reflection or rollback"
    )


def _model_folder(models: ModelOptions, dataset: str | None) -> Path | None:
    """The folder that results are written into; None where none are.

    Raises:
        UsageError: if the model is in no folder, or the data set's name has another form.
    """
    if dataset is None:
        return None
    from leafe_gym.plugs.huggingface import check_repo

    check_repo(dataset)
    folder = Path(models.adapter or models.model).expanduser()
    if not folder.is_dir():
        raise UsageError(
            f"--eval-results: {folder} is no folder; results are written beside a model that is "
            "in one, such as that of leafe train"
        )
    return folder


def _ticking(
    bar: Progress, title: str, total: int, folder: Path
) -> Callable[[Task, Tree | None], None]:
    finished, _ = finished_before(folder, total)
    line = bar.add_task(title, total=total, completed=finished, note="")
    return lambda *_: bar.update(line, advance=1)


def _as_json(found: dict[str, Evaluation], curves: dict[str, Curve]) -> dict[str, Json]:
    """Counts of the rollouts, curves, and the recovery's own counts beside them."""

    def figures(name: str) -> dict[str, Json]:
        return {str(k): interval.as_dict() for k, interval in curves[name].items()}

    report = found["Pass"].as_dict() | {"pass": figures("Pass")}
    if "recovery" in found:
        report["recovery"] = found["recovery"].as_dict() | {"pass": figures("recovery")}
    return report


def _show(name: str, curve: Curve, samples: int) -> None:
    title = f"{name}@k, {samples} rollouts a task (95 % interval)"
    table = Table(title=title, box=SIMPLE_HEAD)
    table.add_column("k", justify="right")
    table.add_column("solved")
    for k, interval in curve.items():
        table.add_row(str(k), str(interval))
    out.print(table)


def _numbers(text: str, samples: int) -> list[int]:
    """The numbers of `--k`.

    Raises:
        UsageError: for anything but whole numbers from 1 to `samples`.
    """
    try:
        found = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise UsageError(f"--k {text}: expected whole numbers, such as 1,16,128") from None
    if found[0] < 1:
        raise UsageError(f"--k {text}: expected numbers >= 1")
    if found[-1] > samples:
        raise UsageError(
            f"--k {text}: Pass@{found[-1]} needs as many rollouts a task; give --samples "
            f"{found[-1]} (now {samples}), or smaller numbers"
        )
    return found
