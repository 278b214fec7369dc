"""`leafe reproduce`: the paper's comparisons with the small model."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from leafe_gym.cli.options import JsonOut
from leafe_gym.cli.screen import CleanFormatter, out, plain, write_json
from leafe_gym.errors import UsageError


def command(
    out_dir: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Runs, figures, report.")
    ] = Path("reproduce"),
    full: Annotated[bool, typer.Option("--full", help="All bases, levels and seeds.")] = False,
    seeds: Annotated[
        int,
        typer.Option(
            "--seeds", min=0, max=50, help="Bases of each kind; 0: five with --full, else one."
        ),
    ] = 0,
    multiturn: Annotated[
        bool, typer.Option("--multiturn", help="Also the model that sees its history.")
    ] = False,
    large: Annotated[
        bool, typer.Option("--large", help="Larger rooms and a model of 5.7 M; needs a GPU.")
    ] = False,
    study: Annotated[
        bool,
        typer.Option("--study", help="Tuned training objectives by protocol: ten CPU hours."),
    ] = False,
    part: Annotated[
        list[str] | None,
        typer.Option(
            "--part", help="With --study: tune, ledger, natural, rounds or curve; repeatable."
        ),
    ] = None,
    json_path: JsonOut = None,
) -> None:
    """Samplers, baselines, LEAFE and controls side by side, each ordering with its verdict.

    Without --full: one base that comes with the package, 60 levels. With it: blind and noisy bases
    of five seeds each, pretrained here. With --study: every method tuned alike, see
    docs/reproduction/protocol.md. The same command with the same --out resumes.
    """
    from leafe_gym.evals.reproduce.protocol import FULL, LARGE, QUICK
    from leafe_gym.evals.reproduce.reproduce import reproduce

    if large and (full or multiturn):
        raise UsageError("--large cannot be combined with --full or --multiturn")
    if study and (full or multiturn or large or seeds):
        raise UsageError("--study takes no --full, --multiturn, --large or --seeds")
    if part and not study:
        raise UsageError("--part needs --study")

    handler = logging.StreamHandler()
    handler.setFormatter(CleanFormatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    if study:
        _study(out_dir, tuple(part or ()), json_path)
        return
    result = reproduce(
        out_dir,
        scale=LARGE if large else FULL if full else QUICK,
        kinds=("blind", "noisy") if full else ("blind",),
        seeds=range(seeds or (5 if full else 1)),
        multiturn=multiturn,
    )
    if json_path:
        write_json(result, json_path)
    if json_path == "-":
        return
    for name in result["decided"]:
        one = result["differences"][name]
        gap = f"{one['mean']:+.3f} [{one['low']:+.3f}, {one['high']:+.3f}]"
        out.print(plain(f"{name}: {gap}: {one['verdict']}"))
    out.print(plain(f"Report: {out_dir / 'report.md'}"))


def _study(folder: Path, parts: tuple[str, ...], json_path: str | None) -> None:
    """Run parts of the study, and conclude from all that is finished."""
    from leafe_gym.evals.study.conclude import conclude
    from leafe_gym.evals.study.report import write_report
    from leafe_gym.evals.study.run import run_study
    from leafe_gym.evals.study.scale import STUDY

    run_study(folder, parts)
    found = conclude(folder, STUDY)
    report = write_report(found, folder)
    if json_path:
        write_json(found, json_path)
    if json_path == "-":
        return
    for name, one in found["orderings"].items():
        gap = (
            ""
            if "mean" not in one
            else f"{one['mean']:+.3f} [{one['low']:+.3f}, {one['high']:+.3f}]: "
        )
        out.print(plain(f"{name}: {gap}{one['verdict']}"))
    out.print(plain(f"Report: {report}"))
